"""Versions of the software that made a run."""

import importlib.metadata
import platform


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, synth and other packages, such as those that run the models, by name, where installed."""
    installed = {"python": platform.python_version()}
    for package in ("synth", *packages):
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
