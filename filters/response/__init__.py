"""Parsing a response: its thoughts, its final answer, its code."""
