"""The directory of a run: its record, its lock, its shards, its card."""
