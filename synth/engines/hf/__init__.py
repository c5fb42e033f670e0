"""The `transformers` engine: a model of transformers with continuous batching of our own."""
