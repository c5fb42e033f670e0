"""What `synth mix` does: open the sets, plan, write, sum up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from cli.generate import claimed_stdout
from cli.options import Share
from cli.progress import Meter, going_on, say
from synth.data.mix import CountTokens, MixPart, Mixture, mixed, plan
from synth.data.output import open_output
from synth.data.prompts import open_prompts
from synth.data.read import Rows, conversations, open_source
from synth.data.row import SCORES
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.errors import UsageError


def mix(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: a set cannot be read, is too small, or the sets have no form in common.
        RunError: the disk failed; what has landed is kept.
    """
    quiet: bool = given["quiet"]
    count = _token_counter(given["model"]) if given["model"] else None
    sources = [(given["target"], None), *map(_replay, given["replays"])]
    if [source for source, _ in sources].count("-") > 1:
        raise UsageError("standard input is one set: only one of TARGET and --replay can be -")
    names = _names([source for source, _ in sources])
    parts = [_part(name, source, share, given, quiet) for name, (source, share) in zip(names, sources, strict=True)]
    settings = {name: given[name] for name in ("by", "order", "oversample", "seed")} | {"as": given["form"]}
    settings["sets"] = [{"name": part.name, "input": part.tasks.fingerprint, "share": part.share} for part in parts]
    mixture = plan(
        parts,
        by=given["by"],
        order=given["order"],
        oversample=given["oversample"],
        seed=given["seed"],
        count_tokens=count,
    )
    record = RunRecord("mix", settings, versions=versions(), source=given["target"])
    with claimed_stdout() as stream:
        read = [source for source, _ in sources]
        sink = open_output(given["output"], stream, record, mixture.schema, restart=given["restart"], also_read=read)
        if sink.next >= mixture.total:
            sink.finish()
            say(f"{given['output']} already holds {sink.record.accepted:,} rows", quiet)
            return
        sink.record.parts = _facts(mixture)
        with going_on(sink, given), Meter("mix", quiet=quiet) as meter:
            for rows, left_out in mixed(mixture, sink.next):
                sink.extend(rows, left_out)
                meter.show(sink.next, mixture.total, "")
        sink.finish()
    for line in _lines(mixture, given["output"]):
        say(line, quiet)


def _part(name: str, source: str, share: float | None, given: dict[str, Any], quiet: bool) -> MixPart:
    raw = open_source(source)
    try:
        rows = conversations(raw)
    except UsageError as error:
        if "input_ids" not in raw.schema.names:
            raise
        raise UsageError(
            f"{source} holds tokens without the conversations they are of, so that what target and replay both ask "
            "cannot be told: keep the messages in a column beside them, as synth score-tokens does"
        ) from error
    for note in rows.notes:
        say(f"{name}: {note}", quiet)
    if given["form"] == "messages":
        rows = _without_tokens(rows)
    tasks = open_prompts(rows, given["limit"] if share is None else None)
    if not tasks.total:
        raise UsageError(f"{source} has no rows")
    return MixPart(name, tasks, share)


def _without_tokens(rows: Rows) -> Rows:
    left = [name for name in rows.schema.names if name in SCORES.names]
    schema = pa.schema([item for item in rows.schema if item.name not in left])
    return replace(rows, schema=schema, read=lambda: (batch.drop_columns(left) for batch in rows.read()))


def _replay(text: str) -> tuple[str, float]:
    source, colon, share = text.rpartition(":")
    if not colon or not source:
        raise UsageError(f"--replay {text} does not say how much: write {text}:5%")
    try:
        found = Share().convert(share, None, None)
    except click.UsageError as error:
        raise UsageError(f"--replay {text}: {error.message}") from error
    if not found > 0:
        raise UsageError(f"--replay {text}: a share is more than nothing")
    return source, found


def _names(sources: Sequence[str]) -> list[str]:
    """What each set is called: the name of its directory or file, numbered where two are alike."""
    found: list[str] = []
    for source in sources:
        name = stem = Path(source).stem if source != "-" else "input"
        number = 2
        while name in found:
            name, number = f"{stem}-{number}", number + 1
        found.append(name)
    return found


def _token_counter(model: str) -> CountTokens:
    from synth.chat.format import format_for
    from synth.errors import RequestError

    chat = format_for(model)

    def count(messages: list[dict[str, str]]) -> int:
        try:
            return len(chat.encode(messages).input_ids)
        except RequestError:
            return 0  # such a row is rejected when it is scored

    return count


def _facts(mixture: Mixture) -> list[dict[str, Any]]:
    """What `run.json` and the card say of each set."""
    return [
        {
            "name": part.name,
            "available": part.tasks.total,
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
