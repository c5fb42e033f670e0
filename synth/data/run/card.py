"""The dataset card: the README of a dataset directory, which the Hub shows, too."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from synth.data.row import PREDICTIONS, SCORES, UNVERIFIED, records_of
from synth.data.write import replace_text

if TYPE_CHECKING:
    from synth.data.run.record import RunRecord


MOST_SHARDS = 64
"""Lines of a table of shards."""


def write_card(path: Path, record: "RunRecord", sample: pa.RecordBatch | None) -> None:
    """Write `README.md` into a dataset directory.

    Args:
        path: the directory.
        record: the run's record.
        sample: accepted rows, of which the first is shown; None if there are none.
    """
    header = f"configs:\n- config_name: default\n  data_files: data-*.arrow\ntags: [synthetic, {record.command}]"
    loading = f"rows = datasets.load_from_disk({json.dumps(path.name, ensure_ascii=False)})"
    replace_text(path / "README.md", card(path.name, header, loading, record, sample))


def card(name: str, header: str, loading: str, record: "RunRecord", sample: pa.RecordBatch | None) -> str:
    """The text of a dataset card.

    Args:
        name: what the set is called.
        header: YAML for the Hub.
        loading: the lines of Python that load the rows.
        record: the run's record.
        sample: accepted rows, of which the first is shown; None if there are none.
    """
    attempts = record.accepted + record.rejected
    lines = [
        "---",
        header,
        "---",
        f"# {inline(name)}",
        "",
        f"{record.accepted:,} rows made by `synth {record.command}`"
        + (f" from {code(Path(record.source).name)}" if record.source else "")
        + (f" with the model {code(record.model)}." if record.model else "."),
    ]
    if record.shard:
        lines += ["", "**One shard of a run; `synth join` makes the data set of all.**"]
    if record.note:
        lines += ["", f"**{record.note}**"]
    if record.command_line:
        lines += ["", *fenced(record.command_line, "sh")]
    lines += ["", *fenced(f"import datasets\n{loading}", "python"), ""]
    for kind, counts in (("method", record.methods), ("verdict", record.verdicts)):
        if len(counts) > 1:
            lines += _table((kind, "rows"), _by_count(counts))
    if record.rejected:
        lines += [
            f"Of {attempts:,} attempts {record.rejected:,} were rejected; they are kept, with the reason, in "
            "`rejected/`:",
            "",
            *_table(("reason", "rows"), _by_count(record.reasons)),
        ]
    if unverified := record.verdicts.get(UNVERIFIED):
        lines += [f"**{unverified_line(unverified)}.**", ""]
    if record.joined:
        lines += _shards(record.joined)
    if record.parts:
        names = ("name", "available", "duplicates", "rows", "tokens")
        lines += _table(("set", *names[1:]), ([part[name] for name in names] for part in record.parts))
    if record.tokens.get("scored"):
        lines += [token_line(record.tokens) + ".", ""]
    lines += [
        "## Settings",
        "",
        *fenced(json.dumps(record.settings, indent=2, ensure_ascii=False), "json"),
        "",
    ]
    if sample is not None and sample.num_rows:
        first = records_of(sample.slice(0, 1))[0]
        hidden = {*SCORES.names, *PREDICTIONS.names}
        shown = {name: value for name, value in first.items() if value is not None and name not in hidden}
        lines += [
            "## One row",
            "",
            *fenced(json.dumps(shown, indent=2, ensure_ascii=False, default=str)[:4000], "json"),
            "",
        ]
    versions = ", ".join(f"{package} {version}" for package, version in record.versions.items())
    lines += [
        f"Made in {record.seconds:,.0f} s: {record.prompt_tokens:,} tokens in, {record.completion_tokens:,} out. "
        f"{versions}.",
        "",
    ]
    return "\n".join(lines)


def _shards(joined: Sequence[dict[str, Any]]) -> list[str]:
    """The shards that a data set was joined from."""
    names = ("rows", "attempts", "seconds", "prompt_tokens", "completion_tokens")
    lines = [f"Joined from {len(joined):,} shards:", ""]
    rows = ([one["shard"], *(round(one[name]) for name in names)] for one in joined[:MOST_SHARDS])
    lines += _table(("shard", "rows", "attempts", "seconds", "tokens in", "tokens out"), rows)
    return lines if len(joined) <= MOST_SHARDS else [*lines, "The others are in `run.json`.", ""]


def token_line(tokens: dict[str, float]) -> str:
    """What `RunRecord.tokens` says of a scored data set: tokens, perplexity, what a mask left, what is not scored."""
    scored, masked = tokens["scored"], tokens["masked"]
    line = f"{int(tokens['tokens']):,} tokens, {int(scored):,} scored: perplexity {_exp(tokens['nats'] / scored)}"
    if masked:
        rest = _exp(tokens["nats_left"] / (scored - masked))
        line += f"; {int(masked):,} masked ({masked / scored:.1%}), perplexity of the rest {rest}"
    if "entropy" in tokens:
        line += (
            f"; mean entropy {tokens['entropy'] / scored:.2f} nats, {tokens['likeliest'] / scored:.1%} the likeliest"
        )
    if untrained := tokens.get("untrained"):
        line += f"; {untrained_line(int(untrained))}"
    return line


def _table(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> list[str]:
    """The lines of a table: names first, numbers after them."""
    cells = ([f"{value:,}" if isinstance(value, int) else inline(value) for value in row] for row in rows)
    first, *rest = (f"| {' | '.join(line)} |" for line in (header, *cells))
    return [first, "|---|" + "---:|" * (len(header) - 1), *rest, ""]


def _exp(nats: float) -> str:
    return f"{math.exp(min(nats, 700)):,.2f}"


def fenced(text: str, language: str) -> list[str]:
    """The lines of a code block with a fence that text written by a model cannot close."""
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return [fence + language, text, fence]


def inline(text: str) -> str:
    """A text as one line of a card that is nothing but text there: no table ends, no link, no HTML begins."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~!$&])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A text as code within a line, with a fence that it cannot close."""
    line = " ".join(text.split())
    fence = "`"
    while fence in line:
        fence += "`"
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def _by_count(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def untrained_line(count: int) -> str:
    """The line about answers that are not trained on."""
    what = "1 answer is" if count == 1 else f"{count:,} answers are"
    return f"{what} context only, not trained on: the chat template rewrites their text"


def unverified_line(count: int) -> str:
    """The line about answers that nothing has judged."""
    what = "1 answer is" if count == 1 else f"{count:,} answers are"
    return f"{what} unverified: the model's own, taken without a check"
