"""Data sets: rows, how they are read and written, and the directories that runs leave."""
