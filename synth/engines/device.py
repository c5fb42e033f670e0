"""Chooses a model's device and dtype, and how much memory it may use there."""

import os

import torch

from synth.engines.base import GPU_MEMORY
from synth.errors import UsageError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA where there is one, else MPS, else the CPU.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {name!r} is not available here; leave it at auto, or choose cpu") from error
    return device


def pick_dtype(name: str, device: torch.device) -> "torch.dtype | str":
    """The dtype called `name`; "auto" is float32 on a CPU and the model's own elsewhere (then "auto" is returned).

    Raises:
        UsageError: no such dtype.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in _DTYPES:
        raise UsageError(f"dtype must be auto, {', '.join(_DTYPES)}; not {name!r}")
    return _DTYPES[name]


def cache_memory(device: torch.device, share: float | None, weights: int) -> int:
    """Bytes for the key-value cache, once the model is loaded.

    On CUDA four fifths, as activations take the rest, of what the model leaves of its share of the device's memory:
    whatever else is there by then, so that as many rows run side by side each time, on which rounding depends. Without
    a share it is of what is free, less a tenth of the device's. Elsewhere, where memory is shared with everything else,
    a quarter of the machine's.

    Args:
        device: the model's.
        share: of the device's memory that the model is given, if it is.
        weights: bytes of the model itself.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        left = free - (1 - GPU_MEMORY) * total if share is None else share * total - weights
        return max(0, int(0.8 * left))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out, on the device or the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )
