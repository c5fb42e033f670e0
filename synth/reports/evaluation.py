"""`synth report` of an evaluation: what was learnt, kept and lost, item by item."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.data.store.path import File
from synth.errors import UsageError
from synth.evaluation.scores import abilities_of, harness_lines, share_of, thought_lines
from synth.reports.datasets import COLOURS, percent, points, retention_colour, short
from synth.reports.items import SIGNS, VERDICTS, Items, take_items
from synth.reports.page import Made, packed, render, save
from synth.reports.page_plots import score_plots

SCORES = "scores.json"
BEYOND_CHANCE = 0.05
"""Changes with a smaller p-value than this are marked."""
TOLD = 4
"""Models that the heading names at most."""

Model = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """The verdict on one model: `kept` with its colour, and `rest` in words."""

    name: str
    kept: str
    colour: str
    rest: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One model's accuracy on one suite; `title` says the counts, `colour` what became of it."""

    accuracy: str
    interval: str
    lost: int
    gained: int
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a suite's cells."""

    name: str
    new: bool
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Sum:
    """One line below the suites: (text, colour) for each model."""

    name: str
    values: list[tuple[str, str]]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """What became of a suite's items between the first model and another.

    Attributes:
        suite: its name.
        new: whether it is of the new task.
        parts: (what, count, percent of all, fragment of the address that shows them).
        change: of the accuracy, in points, with its interval.
        chance: how likely a change this lopsided is where nothing has changed.
        sure: whether that is unlikely.
    """

    suite: str
    new: bool
    parts: list[tuple[str, int, float, str]]
    change: str
    interval: str
    chance: str
    sure: bool


def build_scores_report(folder: File, output: Path) -> Made:
    """Write the page of an evaluation, as `synth eval -o FOLDER` leaves it.

    Args:
        folder: holds scores.json and the answers.
        output: the file to write.

    Raises:
        UsageError: the scores or the answers are damaged, or do not belong together.
        RunError: the page cannot be written.
    """
    try:
        scores = read_scores(folder)
        models: list[Model] = scores["models"]
        values = _values(scores, models)
        plots = score_plots(scores)
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / SCORES} is damaged ({error}); run synth eval again") from error
    notes: list[str] = []
    items = _items(folder, models, notes)
    suites = list(models[0]["suites"])
    names = [short(model["name"], 60) for model in models]
    index = {"models": names, "suites": [short(name, 60) for name in suites], "verdicts": VERDICTS, "signs": SIGNS}
    page = render(
        "scores",
        title=", ".join(names),
        notes=notes,
        command_line=short(str(scores.get("command_line") or ""), 2_000),
        plots=plots,
        items=items,
        index=packed(index | (items.index if items else {})),
        blocks=items.blocks if items else [],
        **values,
    )
    holds = f"{_count(len(models), 'model')}, {_count(items.total if items else 0, 'item')}"
    return Made(holds, save(output, page), notes)


def read_scores(folder: File) -> dict[str, Any]:
    """The scores that `synth eval -o FOLDER` wrote.

    Raises:
        UsageError: it is damaged.
    """
    try:
        scores = json.loads((folder / SCORES).read_text(encoding="utf-8", errors="replace"))
        if not scores["models"]:
            raise ValueError("it lists no model")
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{folder / SCORES} is damaged ({error}); run synth eval again") from error
    return dict(scores)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _items(folder: File, models: Sequence[Model], notes: list[str]) -> Items | None:
    """The items with all models' answers; None where nothing was asked or no answers are there."""
    suites = list(models[0]["suites"])
    if not suites:
        return None
    folders = []
    for model in models:
        name = model["name"]
        if not name or {"/", "\0"} & set(name) or name in (".", ".."):
            raise UsageError(f"{folder / SCORES} is damaged (a model is called {name!r}); run synth eval again")
        folders.append(folder / "answers" / name)
    if missing := next((path for path in folders if not path.is_dir()), None):
        notes.append(f"{missing} is missing: the page has no items")
        return None
    return take_items(folders, suites)


def _values(scores: dict[str, Any], models: Sequence[Model]) -> dict[str, Any]:
    """The values of the template."""
    first, sweep = models[0], scores.get("sweep")
    told = (models[1:] or models) if first["suites"] else []
    if sweep:
        told = [model for model in models if model["name"] == sweep["name"]]
    abilities = [abilities_of(model) for model in models]
    order = sorted(first["suites"], key=lambda name: not first["suites"][name]["new"])
    rows = [*order, *(name for name in abilities[0] if name not in first["suites"])]
    numbers = {name: number for number, name in enumerate(first["suites"])}
    moves = [
        (short(model["name"], 60), [_move(number, numbers[name], name, model["suites"][name]) for name in order])
        for number, model in enumerate(models[1:], 1)
        if model["suites"]
    ]
    return {
        "told": [_told(model, first) for model in told[:TOLD]],
        "untold": len(told) - len(told[:TOLD]),
        "findings": _findings(told[0]) if len(told) == 1 and moves else None,
        "pick": _pick(sweep) if sweep else "",
        "models": [
            {"name": short(model["name"], 60), "path": short(model["model"], 200), "colour": number % COLOURS}
            for number, model in enumerate(models)
        ],
        "lines": [
            Line(
                short(name, 60),
                abilities[0][name]["new"],
                [_cell(ability[name], abilities[0][name]) for ability in abilities],
            )
            for name in rows
        ],
        "sums": list(_sums(models)),
        "alarms": [(short(model["name"], 60), short(text, 300)) for model in models for text in model["alarms"]],
        "moves": moves,
    }


def _told(model: Model, first: Model) -> Told:
    """The verdict in words and numbers."""
    name, kept = short(model["name"], 60), model["kept"]
    if model is first:
        parts = [
            f"{words} {percent(model[kind])}"
            for kind, words in (("old", "old suites"), ("new", "new task"))
            if model[kind] is not None
        ]
        return Told(name, "", "", ", ".join(parts))
    rest = [] if model["new"] is None else [f"new task {points(first['new'])} → {points(model['new'])}"]
    if kept is None and model["old"] is not None:
        rest.append(f"old suites {points(first['old'])} → {points(model['old'])}")
    return Told(name, "" if kept is None else f"kept {percent(kept)}", retention_colour(kept), ", ".join(rest))


def _findings(model: Model) -> list[tuple[str, str]]:
    """The suites that changed beyond chance, and by how much."""
    return [
        (short(name, 40), _change(suite["transitions"]))
        for name, suite in abilities_of(model).items()
        if suite["chance"] < BEYOND_CHANCE
    ]


def _change(moved: dict[str, int]) -> str:
    """The change of the accuracy over the items judged both times, in points."""
    judged = sum(moved.values()) - moved["unscorable"]
    return f"{100 * (moved['gained'] - moved['lost']) / judged:+.1f}".replace("-", "−") if judged else "–"


def _pick(sweep: dict[str, Any]) -> str:
    if sweep["enough"]:
        return f"The best at the new task of those that keep {percent(sweep['keep'])} of the old."
    return f"None keeps {percent(sweep['keep'])} of the old; this one keeps most."


def _cell(suite: dict[str, Any], before: dict[str, Any]) -> Cell:
    moved = suite.get("transitions", {})
    low, high = suite["interval"]
    right, judged = suite["right"], suite["right"] + suite["wrong"]
    title = f"{right:,} of {judged:,} right" + (f", {suite['unscorable']:,} not judged" if suite["unscorable"] else "")
    colour = ""
    if moved and suite["accuracy"] is not None and before["accuracy"]:
        rises = suite["accuracy"] > before["accuracy"]
        if not suite["new"]:
            colour = retention_colour(suite["accuracy"] / before["accuracy"])
        elif suite["chance"] < BEYOND_CHANCE:
            colour = "good" if rises else "bad"
    elif moved and suite["accuracy"] and suite["chance"] < BEYOND_CHANCE:  # nothing was right before
        colour = "good"
    return Cell(
        percent(suite["accuracy"]),
        f"{100 * low:.0f}–{100 * high:.0f}",
        moved.get("lost", 0),
        moved.get("gained", 0),
        colour,
        title,
    )


def _sums(models: Sequence[Model]) -> Iterator[Sum]:
    """The lines below the suites."""
    old = [ability for ability in abilities_of(models[0]).values() if not ability["new"]]
    unscorable = [sum(suite["unscorable"] for suite in model["suites"].values()) for model in models]
    if len(old) > 1:
        yield Sum("old average", [(percent(model["old"]), "") for model in models], strong=True)
    if any(model["kept"] is not None for model in models):
        shares = [model["kept"] for model in models]
        values = [("" if share is None else percent(share), retention_colour(share)) for share in shares]
        yield Sum("kept of the old", values, strong=True)
    if any(unscorable):
        yield Sum("answers not judged", [(f"{count:,}", "") for count in unscorable])
    for name, texts in thought_lines(models):
        yield Sum(name, [(text, "") for text in texts])
    for sign, words in (("refused", "refusals"), ("repetitive", "repetitive answers"), ("cut_off", "answers cut off")):
        shares = [share_of(model, sign) for model in models]
        if any(shares):
            yield Sum(words, [(percent(share), "") for share in shares])
    if any(model["divergence"] is not None for model in models):
        yield Sum("KL, nats a token", [(_number(model["divergence"], ".3f"), "") for model in models])
    for text in models[0]["perplexity"]:
        yield Sum(
            f"perplexity of {short(text, 40)}",
            [(_number(model["perplexity"].get(text), ",.2f"), "") for model in models],
        )
    for name, measures in harness_lines(models):
        yield Sum(short(name, 60), [(_number(value, ".4g"), "") for value in measures])


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _move(number: int, at: int, name: str, suite: dict[str, Any]) -> Move:
    """What became of a suite's items.

    Args:
        number: of the model.
        at: number of the suite.
        name: of the suite.
        suite: its figures.
    """
    counts: dict[str, int] = suite["transitions"]
    model = f"m={number}&" if number > 1 else ""
    total = max(1, sum(counts.values()))
    low, high = suite["change_interval"]
    return Move(
        suite=short(name, 60),
        new=suite["new"],
        parts=[
            (what, counts[what], round(100 * counts[what] / total, 2), f"#{model}s={at}&t={what}")
            for what in ("kept", "lost", "gained", "never", "unscorable")
        ],
        change=_change(counts),
        interval=f"{100 * low:+.1f} to {100 * high:+.1f}".replace("-", "−"),
        chance="< 0.001" if suite["chance"] < 0.001 else f"{suite['chance']:.2g}",
        sure=suite["chance"] < BEYOND_CHANCE,
    )
