"""Finding data files, and reading and writing each format as Arrow batches."""
