"""Puts the shards of an evaluation together: the answers of each model, and the scores counted from all of them."""

from collections.abc import Sequence
from typing import Any

from synth.data.output import Output
from synth.data.row import records_of
from synth.data.run.record import read_record
from synth.data.run.shards import read_shards
from synth.data.store.path import File, path_at
from synth.errors import UsageError
from synth.evaluation.job import ANSWERS
from synth.evaluation.scores import as_json, results_of
from synth.generation.joining import joining
from synth.progress import Progress


def is_evaluation(path: File) -> bool:
    """Whether a directory holds the answers of an evaluation."""
    return (path / ANSWERS).is_dir()


def join_evaluations(paths: Sequence[File], names: Sequence[str], output: Output, progress: Progress) -> dict[str, Any]:
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
    place = str(output.path).rstrip("/")
    scored = (path_at(place) / "scores.json").exists()
    answers = {name: f"{place}/{ANSWERS}/{name}" for name in names}
    planned = [
        joining(
            [path / ANSWERS / name for path in paths],
            Output(folder, restart=output.restart or (not scored and _is_joining(path_at(folder)))),
            None,
            progress,
        )
        for name, folder in answers.items()
    ]
    results = []
    for name, one in zip(names, planned, strict=True):
        record = one.write(progress)
        batches = read_shards(path_at(answers[name]), record.shards)
        results.append(results_of(name, str(record.model), (row for batch in batches for row in records_of(batch))))
    return {"models": as_json(results)}


def _is_joining(folder: File) -> bool:
    """Whether shards were joined there, by a call that may have been killed before it came to the scores."""
    earlier = read_record(folder)
    return earlier is not None and earlier.joining
