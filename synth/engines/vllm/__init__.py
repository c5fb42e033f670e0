"""The `vllm` engine: vLLM in process."""
