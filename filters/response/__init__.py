"""What a response says: its thoughts, its final answer, its code."""
