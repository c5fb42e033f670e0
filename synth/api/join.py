"""`synth.join`: one data set from the shards of a run."""

import os
from collections.abc import Sequence

from synth.api.dataset import Dataset
from synth.api.evaluation import Evaluation
from synth.api.places import Place, output_at
from synth.data.destination import check_directory
from synth.data.store.path import path_at
from synth.errors import UsageError
from synth.evaluation.joining import is_evaluation, join_evaluations
from synth.generation.joining import joining
from synth.progress import Progress
from synth.reports.evaluation import read_scores
from synth.values import Rows, checked


@checked
def join(
    shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    output: Place = None,
    rows: Rows | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset | Evaluation:
    """Make one data set of the shards of a run: the same, byte for byte, that one process makes of all its rows.

    What depends on other rows is decided here, in the order of rows: duplicates, equal shares of several tasks, and
    the end of a run that is to have so many rows after rejection. Each shard of such a run makes a little more than
    its part (2% and three times its square root), and what is over is cut. Where there is too little all the same,
    the message says with which `rows` the shards go on. Runs that make rows in batches (`score_tokens`, `rate` by a
    reward model) cut their files where a batch ends: of more than 5,000 rows these are the same in the same order.

    Args:
        shards: the directories of all shards, here or elsewhere (`s3://bucket/shards/1`), in any order.
        output: where the rows go.
        rows: rows wanted, of a run that has a target; by default as many as the shards were asked for.
        restart: throw away what is in the output.
        progress: is told how it goes.

    Returns:
        The data set; of an evaluation its scores, counted from all answers.

    Raises:
        UsageError: they are not all the shards of one run, one is unfinished or damaged, or the output exists.
        RunError: there are too few rows, or the disk failed.
        Stopped: a person stopped it.
    """
    given = [shards] if isinstance(shards, str | os.PathLike) else shards
    paths = [path_at(os.fspath(shard)) for shard in given]
    place = output_at(output, restart=restart)
    if not any(map(is_evaluation, paths)):
        return Dataset.of(place, joining(paths, place, rows, progress).write(progress))
    if rows is not None or place.path is None:
        raise UsageError("the shards of an evaluation are joined into a directory, `output` DIR, and without `rows`")
    check_directory(place.path, "an evaluation")
    names = [model["name"] for model in read_scores(paths[0])["models"]]
    return Evaluation.written(join_evaluations(paths, names, place, progress), place)
