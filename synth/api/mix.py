"""`synth.mix`: a task's rows with a share of replay among them."""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.places import Place, Source, output_at, path_of, source_at
from synth.data.mix import CountTokens
from synth.data.mixing import open_part, part_names, write_mixture
from synth.data.plain import TEXT
from synth.errors import RequestError, UsageError
from synth.generation.models import Model, ModelName
from synth.progress import Progress
from synth.scoring.encoding import RowEncoder
from synth.values import LARGEST_SHARE, Limit, MessagesOnly, Order, Seed, Shares, Unit, checked

Replay = Mapping[Any, float] | Iterable[str | tuple[Source, float]]
"""Replay sets (names, paths, data sets), each with its share of the target: 0.05 is 5 %. Pairs, where a set is rows in
memory; or, as in a shell, "SET:5%"."""


@checked
def mix(
    target: Source,
    replay: Replay,
    *,
    output: Place = None,
    by: Unit = "rows",
    order: Order = "interleave",
    oversample: bool = False,
    form: MessagesOnly | None = None,
    model: Model | ModelName | None = None,
    limit: Limit | None = None,
    seed: Seed = 0,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Mix the rows of a task with replay, so that training keeps the old abilities.

    All of the target is taken, and of each replay set as many rows (or tokens) as its share of the target says, at
    random and none twice. Replay rows that ask what a target row asks are left out. Each row says in `source` which set
    it is of; `Dataset.record.parts` says what was taken of each.

    Args:
        target: the task's rows.
        replay: the replay sets, each with its share of the target, such as `{"replay": 0.05}` or `["replay:5%"]`.
        output: where the rows go; an interrupted run there is continued.
        by: what shares are of. The tokens of sets that are not scored are those of `model`.
        order: replay evenly among the target's rows; all rows at random; or replay after them.
        oversample: take rows of a replay set that is too small more than once.
        form: "messages" leaves tokens and labels behind.
        model: for `by` "tokens": the model whose tokens are counted.
        limit: rows of the target to take.
        seed: of what is drawn.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: a set cannot be read or is too small, or the sets have no form in common.
        RunError: the disk failed; what was written is kept.
        Stopped: a person stopped it.
    """
    shares = [_share(one) for one in (replay.items() if isinstance(replay, Mapping) else replay)]
    if not shares:
        raise UsageError("`replay` names no set: give one, and how much of it")
    sources: list[tuple[Source, float | None]] = [(target, None), *shares]
    names = [path_of(source) for source, _ in sources]
    if names.count("-") > 1:
        raise UsageError("standard input is one set: only one of the target and `replay` can be -")
    called = part_names(names)
    for name, (_, share) in zip(called, sources, strict=True):
        if share is not None and not 0 < share < math.inf:
            raise UsageError(f"`replay` {name}: {share} is no share; a share is above 0, and 0.05 is 5%")
    place = output_at(output, restart=restart)
    with ExitStack() as stack:
        count = None if model is None else _token_counter(stack.enter_context(used(model)))
        parts = [
            open_part(
                name,
                stack.enter_context(source_at(source)),
                share,
                limit=limit if share is None else None,
                messages=form == "messages",
                progress=progress,
            )
            for name, (source, share) in zip(called, sources, strict=True)
        ]
        record = write_mixture(
            parts,
            place,
            by=by,
            order=order,
            oversample=oversample,
            seed=seed,
            form=form,
            count_tokens=count,
            progress=progress,
        )
        return Dataset.of(place, record)


def _share(given: str | tuple[Source, float]) -> tuple[Source, float]:
    """A replay set and its share of the target."""
    if not isinstance(given, str):
        return given
    source, colon, share = given.rpartition(":")
    if not colon or not source:
        raise UsageError(f"`replay` {given} does not say how much: write {given}:5%")
    try:
        return source, Shares(0, LARGEST_SHARE).read(share)
    except ValueError as error:
        raise UsageError(f"`replay` {given}: {error}") from error


def _token_counter(model: Model) -> CountTokens:
    encoder = RowEncoder(model.chat)

    def count(record: Mapping[str, Any]) -> int:
        try:
            if not record["messages"] and record.get(TEXT):
                return len(encoder.text(record[TEXT]).ids)
            return encoder.length(record)
        except RequestError:
            return 0  # such a row is rejected when it is scored

    return count
