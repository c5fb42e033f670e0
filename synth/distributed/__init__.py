"""A run whose rows are made by actors of Ray, block by block, each with an engine of its own."""
