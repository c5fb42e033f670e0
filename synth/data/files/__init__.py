"""Files of rows: which there are, and how each format is read and written as Arrow batches."""
