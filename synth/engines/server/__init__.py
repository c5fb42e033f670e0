"""The server engine: any OpenAI-compatible `/v1/completions`."""
