"""Recognises conversations and benchmarks by their columns, and converts them to `messages` and `reference`."""
