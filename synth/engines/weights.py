"""Whether two directories hold the same weights, whatever their shards and number formats."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synth.engines.open import weights_digest


def same_weights(folder: Path, other: Path) -> bool | None:
    """Whether the weights of two model directories are equal, as far as parts from all over them can tell.

    Args:
        folder: a model directory.
        other: another.

    Returns:
        None where that cannot be told: they are stored in ways that cannot be compared, or there are none.
    """
    if all(any(place.glob("*.safetensors")) for place in (folder, other)):
        return _same_tensors(folder, other)
    mine, theirs = (sorted(place.glob("pytorch_model*.bin")) for place in (folder, other))
    if not mine or [(file.name, file.stat().st_size) for file in mine] != [
        (file.name, file.stat().st_size) for file in theirs
    ]:
        return None
    return [weights_digest(file) for file in mine] == [weights_digest(file) for file in theirs]


def _same_tensors(folder: Path, other: Path) -> bool | None:
    """The tensors that both have, such as all but a head that is tied: some may also be stored quantised."""
    from safetensors import SafetensorError, safe_open

    try:
        theirs = {name: file for file in other.glob("*.safetensors") for name in _names(file)}
        told = None
        for file in folder.glob("*.safetensors"):
            with safe_open(file, "pt") as weights:
                for name in theirs.keys() & set(weights.keys()):
                    with safe_open(theirs[name], "pt") as others:
                        same = _same(weights.get_slice(name), others.get_slice(name))
                    if same is False:
                        return False
                    told = told or same
    except (SafetensorError, OSError):  # it is told when the model is loaded
        return None
    return told


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as weights:
        return list(weights.keys())


def _same(tensor: Any, other: Any) -> bool | None:
    """Compare rows of two tensors, in the narrower format where one was rounded to it."""
    import torch

    shape, theirs = tensor.get_shape(), other.get_shape()
    for rows, others in zip(_rows(tensor, shape), _rows(other, theirs), strict=False):
        if not (rows.is_floating_point() and others.is_floating_point()) and rows.dtype != others.dtype:
            return None  # one is quantised
        if shape != theirs:
            return False
        if rows.dtype != others.dtype:
            if rows.dtype.itemsize == others.dtype.itemsize:
                return None
            narrow = min(rows.dtype, others.dtype, key=lambda dtype: dtype.itemsize)
            rows, others = rows.to(narrow), others.to(narrow)
        if not torch.equal(rows, others):
            return False
    return True


def _rows(tensor: Any, shape: list[int]) -> Iterator[Any]:
    """The first, the middle and the last row of a matrix, of its first part where it has more dimensions; or all."""
    if len(shape) < 2 or 0 in shape:
        yield tensor[:] if shape else tensor[...]
        return
    for row in {0, shape[0] // 2, shape[0] - 1}:
        yield tensor[(slice(row, row + 1), *(slice(0, 1) for _ in shape[2:]))]
