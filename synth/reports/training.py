"""`synth report` of a training run: what was learned and kept over its steps, and its loss."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synth.data.run.record import RunRecord, read_record
from synth.data.store.path import File, last_part
from synth.errors import UsageError
from synth.reports.datasets import Tile, figure, percent, points, retention_colour, short
from synth.reports.page import Made, render, save
from synth.reports.page_plots import curve_plot, loss_plot
from synth.reports.plots import CurvePoint, draw_curve

LOG = "log.jsonl"
APART = {"evaluation", "input", "replay", "revision", "suites"}
"""Settings that the page does not list: they are shown elsewhere on it, or only name what was read."""

METHOD_LOG = {
    "rewards/margins": "Reward margin",
    "rewards/accuracies": "Pairs told apart",
    "reward": "Reward",
    "completions/mean_length": "Tokens an answer",
}
"""What methods on TRL log beside the loss, by the names of their axes."""

Entry = dict[str, Any]


def build_training_report(folder: File, output: Path) -> Made:
    """Write the page of a training run, finished or under way.

    Args:
        folder: what `synth train -o FOLDER` writes.
        output: the file to write.

    Raises:
        UsageError: the record or the log is damaged.
        RunError: the page cannot be written.
    """
    record = read_record(folder)
    if record is None:
        raise UsageError(f"{folder} has a {LOG} but no run.json: it holds no training run")
    try:
        values = _values(record, list(_entries(folder)))
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{folder} is damaged ({error})") from error
    name = short(last_part(folder), 60)
    page = render("training", title=name, name=name, **values)
    return Made(f"{values['steps']:,} steps", save(output, page), [])


def draw_training_curve(folder: Path, log: Sequence[Entry], keep: float | None = None) -> None:
    """Draw `curve.svg` and `curve.png` from what a log has so far.

    Args:
        folder: the directory they are written to.
        log: of the training; at least one entry is an evaluation.
        keep: the share of the old abilities that is to be kept, if there is one.

    Raises:
        ValueError: there is no evaluation.
    """
    measured = [(entry["step"], entry["evaluation"]) for entry in log if "evaluation" in entry]
    points = [CurvePoint(step, shares["new"], shares["old"]) for step, shares in measured]
    first = measured[0][1]["old"] if measured else None
    floor = None if keep is None or first is None else keep * first
    for suffix in (".svg", ".png"):
        draw_curve(points, folder / f"curve{suffix}", floor)


def _entries(folder: File) -> Iterator[Entry]:
    """The log, up to where a kill cut it short."""
    for line in (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def _values(record: RunRecord, log: Sequence[Entry]) -> dict[str, Any]:
    """The values of the template."""
    measured = [(entry["step"], entry["evaluation"]) for entry in log if "evaluation" in entry]
    losses = [(entry["step"], float(entry["loss"])) for entry in log if "loss" in entry]
    steps = max((entry["step"] for entry in log), default=0)
    floor = record.settings.get("keep")
    first = measured[0][1] if measured else {}
    return {
        "measured": [_measured(step, evaluation) for step, evaluation in measured],
        "suites": [short(name, 40) for name in first.get("suites", ())],
        "verdict": _verdict(first, measured[-1][1]) if measured else None,
        "steps": steps,
        "finished": record.finished is not None,
        "model": short(record.model or "a model", 200),
        "source": short(Path(record.source).name, 100) if record.source else "",
        "rows": record.accepted,
        "rejected": record.rejected,
        "reasons": [(short(reason, 100), count) for reason, count in record.reasons.items()],
        "tiles": list(_tiles(record, steps, losses)),
        "curve": curve_plot(
            [CurvePoint(step, evaluation["new"], evaluation["old"]) for step, evaluation in measured],
            floor * first["old"] if floor and first.get("old") else None,
        ),
        "loss": loss_plot(losses, _logged(log), unit="" if _prefers(record) else "nats a token"),
        "command_line": record.command_line,
        "odd": sum(not math.isfinite(loss) for _, loss in losses),
        "settings": [
            (name.replace("_", " "), short(value if isinstance(value, str) else json.dumps(value), 80))
            for name, value in (record.settings | _passes(record)).items()
            if name not in APART and value not in (None, False, [], "", 0)
        ],
    }


def _passes(record: RunRecord) -> dict[str, float]:
    """The epochs that were trained, where steps decided and not the setting."""
    return {"epochs": float(f"{record.passes:.4g}")} if record.passes and "epochs" in record.settings else {}


def _logged(log: Sequence[Entry]) -> dict[str, list[tuple[int, float]]]:
    """The other logged values of a training, by the name of their axis."""
    names = ("Loss of the task", "Loss of replay", "Learning rate", "Gradient norm", "Tokens/s", *METHOD_LOG.values())
    logged: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    for entry in log:
        seconds, tokens = entry.get("seconds"), entry.get("tokens")
        rate = entry.get("learning_rate", entry.get("rate"))  # its name in earlier releases
        gradient = entry.get("grad_norm", entry.get("gradient"))
        speed = tokens / seconds if seconds and tokens else None
        own = (entry.get(name) for name in METHOD_LOG)
        values = (entry.get("task_loss"), entry.get("replay_loss"), rate, gradient, speed, *own)
        for name, value in zip(logged, values, strict=True):
            if value is not None:
                logged[name].append((entry["step"], float(value)))
    return logged


def _verdict(first: Entry, last: Entry) -> dict[str, str]:
    """The heading, in words and numbers: what is kept, with its colour, and the rest."""
    rest = []
    if last["new"] is not None:
        rest.append(f"new task {points(first['new'])} → {points(last['new'])}")
    kept = last.get("kept")
    if kept is None and last["old"] is not None:
        rest.append(f"old suites {points(first['old'])} → {points(last['old'])}")
    return {
        "kept": "" if kept is None else f"kept {percent(kept)}",
        "colour": retention_colour(kept),
        "rest": ", ".join(rest),
    }


def _measured(step: int, evaluation: Entry) -> dict[str, Any]:
    """One line of the table."""
    return {
        "step": step,
        "new": percent(evaluation["new"]),
        "old": percent(evaluation["old"]),
        "kept": percent(evaluation.get("kept")),
        "colour": retention_colour(evaluation.get("kept")),
        "suites": [percent(share) for share in evaluation["suites"].values()],
    }


def _tiles(record: RunRecord, steps: int, losses: Sequence[tuple[int, float]]) -> Iterator[Tile]:
    more = f", {figure(record.passes)} passes over the rows" if record.passes else ""
    yield Tile("Steps", f"{steps:,}", ("done" if record.finished else "so far") + more)
    yield Tile("Rows", f"{record.accepted:,}", f"{record.rejected:,} left out" if record.rejected else "")
    tokens = record.tokens.get("tokens")
    if tokens:
        trained = record.tokens.get("trained")
        yield Tile("Tokens", f"{tokens:,.0f}", f"{trained:,.0f} with loss" if trained else "of prompts")
    for part in record.parts:
        yield Tile("Replay", f"{part['rows']:,}", f"rows of {short(str(part['name']), 60)}, {part['tokens']:,} tokens")
    if losses:
        unit = "" if _prefers(record) else "nats a token, "
        yield Tile("Loss", f"{figure(losses[0][1])} → {figure(losses[-1][1])}", f"{unit}first and last step")


def _prefers(record: RunRecord) -> bool:
    """Whether the loss is one over pairs, not over tokens."""
    return record.settings.get("method") in ("dpo", "ipo", "simpo")
