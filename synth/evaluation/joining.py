"""Puts the shards of an evaluation together: the answers of each model, and the scores counted from all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synth.data.output import Output
from synth.data.row import records_of
from synth.data.run.record import read_record
from synth.data.run.shards import read_shards
from synth.errors import UsageError
from synth.evaluation.pipeline import ANSWERS
from synth.evaluation.scores import as_json, results_of
from synth.generation.joining import joining
from synth.progress import Progress


def is_evaluation(path: Path) -> bool:
    """Whether a directory holds the answers of an evaluation."""
    return (path / ANSWERS).is_dir()


def join_evaluations(paths: Sequence[Path], names: Sequence[str], output: Output, progress: Progress) -> dict[str, Any]:
    """Join the shards of an evaluation.

    Args:
        paths: their directories, in any order.
        names: of the models, the first first.
        output: a directory.
        progress: is told how it goes.

    Returns:
        The scores, as `synth.evaluation.pipeline.evaluate` gives them.

    Raises:
        UsageError: they are no shards of one evaluation, or not all of them, or the output exists.
    """
    for path in paths:
        asked = sorted(folder.name for folder in (path / ANSWERS).iterdir()) if is_evaluation(path) else []
        if asked != sorted(names):
            raise UsageError(f"{paths[0]} and {path} are of different models ({', '.join(asked) or 'none'}, in {path})")
    folder = Path(str(output.path)) / ANSWERS
    scored = (folder.parent / "scores.json").exists()
    planned = [
        joining(
            [path / ANSWERS / name for path in paths],
            Output(str(folder / name), restart=output.restart or (not scored and _is_joining(folder / name))),
            None,
            progress,
        )
        for name in names
    ]
    results = []
    for name, one in zip(names, planned, strict=True):
        record = one.write(progress)
        batches = read_shards(folder / name, record.shards)
        results.append(results_of(name, str(record.model), (row for batch in batches for row in records_of(batch))))
    return {"models": as_json(results)}


def _is_joining(folder: Path) -> bool:
    """Whether shards were joined there, by a call that may have been killed before it came to the scores."""
    earlier = read_record(folder)
    return earlier is not None and earlier.joining
