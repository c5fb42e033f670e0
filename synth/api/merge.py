"""`synth.merge`: interpolation between the weights before and after training."""

import os

from synth.data.destination import check_directory
from synth.data.output import Output
from synth.data.store.path import path_at
from synth.generation.models import ModelName
from synth.progress import Progress
from synth.training.merge import Merged, merged_before
from synth.training.merge import merge as merge_weights
from synth.values import NonNegative, checked


@checked
def merge(
    base: ModelName,
    tuned: ModelName,
    *,
    output: str | os.PathLike[str],
    ratio: NonNegative | None = None,
    add: ModelName | None = None,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Merged:
    """Merge the weights of a model before and after training, to recover some of what it forgot.

    Weights are interpolated (arXiv 2412.19512): those of `base` at a ratio of 0, those of `tuned` at 1. With `add`
    the difference between a chat model and `base`, a chat vector (arXiv 2310.04799), is added to `tuned` instead.
    Everything but the weights is the tuned model's.

    Args:
        base: the model before training, a directory or a Hub id.
        tuned: the model after it, of the same family.
        output: the directory for the merged model, here or elsewhere (`s3://bucket/model`), which appears whole; not
            there yet, or with this very merge.
        ratio: how much of `tuned` (or of the chat vector); by default 0.5, and 1 with `add`.
        add: add what made this chat model of `base` to `tuned`: a chat vector.
        progress: is told what was merged.

    Raises:
        UsageError: a model cannot be found, holds no safetensors, or they are not of one family; the output exists.
        RunError: the disk is full.
    """
    place = Output(os.fspath(output))
    check_directory(str(place.path), "the merged model")
    share = ratio if ratio is not None else 0.5 if add is None else 1.0
    chat = None if add is None else os.fspath(add)
    there = path_at(str(place.path))
    if merged := merged_before(there, os.fspath(base), os.fspath(tuned), share, chat):
        progress.say(f"{place.called} already holds this merge")
        return merged
    with place.made(force=False) as folder:
        merged = merge_weights(os.fspath(base), os.fspath(tuned), folder, ratio=share, add=chat)
    merged.path = there
    progress.say(f"{merged.tensors:,} tensors merged → {place.called}")
    for name in merged.kept:
        progress.say(f"  {name} is left as {tuned} has it")
    return merged
