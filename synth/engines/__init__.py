"""Engines: one protocol (`base`), three ways to run a model (`vllm`, `transformers`, `server`)."""
