"""What the arms come to: the table, results.json and the plots."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synth.reports.plots import Arm as Point
from synth.reports.plots import draw_skills, draw_tradeoff

Result = dict[str, Any]


def table(results: list[Result]) -> str:
    """A Markdown table: a row an arm; accuracies in percent, mean ± standard deviation over the seeds."""
    base = results[0]["base"]
    skills = list(base["suites"])
    old = [name for name in skills if name != "two_step"]
    head = ["arm", "new", "old", "kept", *old, "KL", "perplexity", "minutes"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    foundation = [f"{100 * base['new']:.1f}", f"{100 * base['old']:.1f}", "100"]
    foundation += [f"{100 * base['suites'][name]:.0f}" for name in old]
    lines.append(f"| *before training* | {' | '.join(foundation)} | 0 | | |")
    for result in results:
        runs = result["test"]
        cells = [
            _spread(100 * run["new"] for run in runs),
            _spread(100 * run["old"] for run in runs),
            f"**{100 * statistics.mean(run['kept'] for run in runs):.1f}**",
            *(f"{100 * statistics.mean(run['suites'][name] for run in runs):.0f}" for name in old),
            f"{statistics.mean(run['divergence'] for run in runs):.2f}",
            f"{result['perplexity']:.2f}",
            f"{statistics.median(result['minutes']):.1f}",
        ]
        lines.append(f"| {result['arm']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: Iterable[float]) -> str:
    values = list(values)
    return f"{statistics.mean(values):.1f} ± {_deviation(values):.1f}"


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def draw(results: list[Result], folder: Path, shown: Iterable[str]) -> None:
    """`tradeoff-STYLE.svg` of all arms, and `skills.svg` of the arms `shown`."""
    base = results[0]["base"]
    for style in dict.fromkeys(result["style"] for result in results):
        points = []
        for result in results:
            if result["style"] == style:
                kept, new = ([run[name] for run in result["test"]] for name in ("kept", "new"))
                points.append(
                    Point(
                        result["arm"].removeprefix(f"{style}: "),
                        kept=statistics.mean(kept),
                        new=statistics.mean(new),
                        kept_spread=_deviation(kept),
                        new_spread=_deviation(new),
                        group=result["group"],
                    )
                )
        draw_tradeoff(points, folder / f"tradeoff-{style}.svg", base["new"])
    by_name = {result["arm"]: result for result in results}
    bars = {"before training": base["suites"]}
    for name in shown:
        if name in by_name:
            runs = by_name[name]["test"]
            bars[name] = {suite: statistics.mean(run["suites"][suite] for run in runs) for suite in base["suites"]}
    draw_skills(bars, folder / "skills.svg")
