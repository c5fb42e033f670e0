"""A mixture from the data sets to the output: open the sets, plan, write, sum up."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from synth.data.files.names import short_name, unlike
from synth.data.mix import CountTokens, MixPart, Mixture, mixed, plan
from synth.data.output import Output
from synth.data.plain import only_texts, rows_or_texts
from synth.data.prompts import open_prompts
from synth.data.read import Rows, open_source
from synth.data.row import PREDICTIONS, SCORES
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.errors import UsageError
from synth.progress import Progress
from synth.stop import Stop
from synth.values import Order, Unit


def open_part(
    name: str, source: str, share: float | None, *, limit: int | None, messages: bool, progress: Progress
) -> MixPart:
    """One set of a mixture, read once.

    Args:
        name: what it is called there.
        source: the set.
        share: how much of it is wanted, of the target; None for the target itself.
        limit: rows to take; None takes all.
        messages: whether tokens and labels are left behind.
        progress: is told what was recognised.

    Raises:
        UsageError: it cannot be read, or has no rows.
    """
    raw = open_source(source)
    try:
        rows = rows_or_texts(raw)
    except UsageError as error:
        if "input_ids" not in raw.schema.names:
            raise
        raise UsageError(
            f"{source} holds tokens without the conversations they are of, so that what target and replay both ask "
            "cannot be told: keep the messages in a column beside them, as synth score-tokens does"
        ) from error
    if messages and "input_ids" in raw.schema.names and only_texts(rows):
        raise UsageError(f"{source} has texts and their tokens, and no messages that `as` messages could leave")
    for note in rows.notes:
        progress.say(f"{name}: {note}")
    prompts = open_prompts(_without_tokens(rows) if messages else rows, limit)
    if not prompts.total:
        raise UsageError(f"{source} has no rows")
    return MixPart(name, prompts, share)


def _without_tokens(rows: Rows) -> Rows:
    left = [name for name in rows.schema.names if name in (*SCORES.names, *PREDICTIONS.names)]
    schema = pa.schema([item for item in rows.schema if item.name not in left])
    return replace(rows, schema=schema, read=lambda: (batch.drop_columns(left) for batch in rows.read()))


def part_names(names: Sequence[str | None]) -> list[str]:
    """What sets are called, numbered where two are alike.

    Args:
        names: their places; None for rows in memory.
    """
    return unlike(["rows" if source is None else short_name(source) for source in names])


def write_mixture(
    parts: Sequence[MixPart],
    output: Output,
    *,
    by: Unit,
    order: Order,
    oversample: bool,
    seed: int,
    form: str | None,
    count_tokens: CountTokens | None,
    progress: Progress,
) -> RunRecord:
    """Plan the mixture of sets and write it, or continue it where an earlier call was stopped.

    Its parameters are those of `synth.mix`, one for one.

    Args:
        parts: the target, then the replay sets.
        output: where the rows go.
        by: as for `synth.data.mix.plan`.
        order: as for `synth.data.mix.plan`.
        oversample: as for `synth.data.mix.plan`.
        seed: as for `synth.data.mix.plan`.
        form: what the rows are brought to; part of the settings.
        count_tokens: as for `synth.data.mix.plan`.
        progress: is told how it goes.

    Returns:
        What is known of the run, now that it is complete.

    Raises:
        UsageError: a set is too small, the sets have no form in common, or the output holds something else.
        RunError: the disk failed; what was written is kept.
        Stopped: a person stopped it.
    """
    settings: dict[str, Any] = {"by": by, "order": order, "oversample": oversample, "seed": seed, "as": form}
    settings["sets"] = [{"name": part.name, "input": part.prompts.fingerprint, "share": part.share} for part in parts]
    mixture = plan(parts, by=by, order=order, oversample=oversample, seed=seed, count_tokens=count_tokens)
    sources = [part.prompts.source.source for part in parts]
    record = RunRecord("mix", settings, versions=versions(), source=sources[0])
    with Stop().on_signals(), output.opened(record, mixture.schema, also_read=sources) as sink:
        record = sink.record
        if sink.next >= mixture.total:
            progress.say(f"{output.called} already holds {record.accepted:,} rows")
            return record
        record.parts = _facts(mixture)
        with progress.meter("mix") as meter:
            for rows, left_out in mixed(mixture, sink.next):
                sink.extend(rows, left_out)
                meter.show(sink.next, mixture.total, "")
    for line in _lines(mixture, output.called):
        progress.say(line)
    return record


def _facts(mixture: Mixture) -> list[dict[str, Any]]:
    """What `run.json` and the card say of each set."""
    return [
        {
            "name": part.name,
            "available": part.prompts.total,
            "duplicates": len(part.duplicates),
            "unreadable": len(part.unreadable),
            "rows": len(part.taken),
            "tokens": part.tokens,
        }
        for part in mixture.parts
    ]


def _lines(mixture: Mixture, output: str | None) -> list[str]:
    target = mixture.parts[0]
    counted = any(part.tokens for part in mixture.parts)
    lines = [f"{mixture.rows:,} rows{f' in {output}' if output else ''}"]
    for part in mixture.parts:
        share = f"{len(part.taken) / max(1, len(target.taken)):.1%} of the target's rows"
        tokens = f"; {part.tokens:,} tokens, {part.tokens / max(1, target.tokens):.1%}" if counted else ""
        never = f"; {len(part.duplicates):,} that the target asks, too, left out" if len(part.duplicates) else ""
        never += f"; {len(part.unreadable):,} that cannot be read rejected" if part.unreadable else ""
        lines.append(f"  {len(part.taken):>7,}  {part.name} ({share}{tokens}{never})")
    return lines
