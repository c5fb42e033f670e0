"""Checks that run in other processes: the worker pool, and the sandbox of model-written programs."""
