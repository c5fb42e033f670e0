"""The plots of an evaluation."""

from pathlib import Path
from typing import Any

from synth.reports.plots import Arm, draw_skills, draw_tradeoff

MOST = 6
"""Models whose bars fit side by side."""


def draw_scores(scores: dict[str, Any], folder: Path, suffix: str = ".svg") -> list[Path]:
    """Draw an evaluation: bars a suite, and, from three models on, retained against gained.

    Args:
        scores: as `scores.json` holds them.
        folder: where `skills` and `tradeoff` go.
        suffix: of the files, `.svg` or `.png`.

    Returns:
        The files written.
    """
    models = [model for model in scores["models"] if model["suites"]]
    drawn = []
    if models and len(models) <= MOST:
        drawn.append(folder / f"skills{suffix}")
        draw_skills(
            {
                model["name"]: {name: suite["accuracy"] or 0.0 for name, suite in model["suites"].items()}
                for model in models
            },
            drawn[-1],
            {
                model["name"]: {name: tuple(suite["interval"]) for name, suite in model["suites"].items()}
                for model in models
            },
        )
    arms = [
        Arm(model["name"], kept=model["kept"], new=model["new"])
        for model in models[1:]
        if model["kept"] is not None and model["new"] is not None
    ]
    if len(arms) > 1:
        drawn.append(folder / f"tradeoff{suffix}")
        draw_tradeoff(arms, drawn[-1], models[0]["new"])
    return drawn
