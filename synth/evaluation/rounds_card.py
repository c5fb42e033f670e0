"""The card of a loop of rounds."""

import json

from synth.data.run.card import fenced, inline
from synth.data.run.record import RunRecord
from synth.evaluation.continual import transfer_table
from synth.evaluation.rounds import History
from synth.evaluation.table import ScoreTable


def rounds_card(record: RunRecord, history: History) -> str:
    """The text of the card: what was learnt from what, the table of rounds, and the settings."""
    standing = history.standing()
    tasks = " and then ".join(inline(task.name) for task in history.tasks)
    best = f"round {standing.best}: `model` is a link to it" if standing.best else "before them: no round was better"
    unverified = record.settings.get("verifier") == "none"
    what = "its answers, **which nothing verified**" if unverified else "what was right of it"
    lines = [
        "---",
        "library_name: transformers",
        f"base_model: {json.dumps(record.model)}",
        "tags: [synth, iterate]",
        "---",
        f"# {inline(str(record.model))}, trained in rounds on {tasks}",
        "",
        f"In each round the model answered the tasks, and was trained by `synth iterate` on {what}. The best model is "
        f"that of {best}.",
        "",
        *_markdown(history.table()),
    ]
    if len(history.tasks) > 1:
        lines += ["", "What was kept of each task, after the stages in which they were learnt:", ""]
        lines += _markdown(transfer_table(history.matrix()))
    if record.command_line:
        lines += ["", *fenced(record.command_line, "sh")]
    settings = json.dumps(record.settings, indent=2, ensure_ascii=False)
    return "\n".join([*lines, "", "## Settings", "", *fenced(settings, "json")]) + "\n"


def _markdown(table: ScoreTable) -> list[str]:
    cells = [["".join(span.text for span in cell).strip() for cell in row] for row in table.rows]
    lines = [f"| {' | '.join(map(inline, row))} |" for row in (table.header, *cells)]
    remarks = [inline("".join(span.text for span in line)) for line in table.remarks]
    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return [lines[0], rule, *lines[1:], *(["", *remarks] if remarks else [])]
