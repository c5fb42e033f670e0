"""One arm: train a model a seed, and evaluate them together. What is done is not done again."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from samples.lab.arms import BATCH_TOKENS, RATIOS, REPLAY, STEPS, TASKS, Arm
from samples.lab.commands import ENGINE, MAX_TOKENS, MODEL, read_json, synth
from samples.lab.data import Data
from synth.data.row import digest

KEEP = 0.95


@dataclass(frozen=True, slots=True)
class Lab:
    """Where everything is.

    Attributes:
        folder: of the whole lab.
        steps: of every training.
        tasks: of the new skill.
        replay: rows of each replay set.
    """

    folder: Path
    steps: int = STEPS
    tasks: int = TASKS
    replay: int = REPLAY

    @property
    def data(self) -> Data:
        """The sets to train on."""
        return Data(self.folder / "data", self.folder / "suites", self.tasks, self.replay)

    def suites(self, split: str) -> list[object]:
        """The suites of a split, as arguments of `synth eval`."""
        folder = self.folder / "suites" / split
        new = [word for file in sorted((folder / "new").iterdir()) for word in ("--new", file)]
        return [*sorted((folder / "old").iterdir()), *new]

    def evaluate(self, split: str, models: dict[str, Path], output: Path, *more: object) -> list[dict[str, Any]]:
        """Models beside the one they were trained from; that one comes first."""
        named = [word for name, path in models.items() for word in ("--model", f"{name}={path}")]
        synth(
            *("eval", *self.suites(split), "--model", f"base={MODEL}", *named, *ENGINE, "--max-tokens", MAX_TOKENS),
            *("--kl", "-o", output, *more),
            log=output / "log.txt",
        )
        found: list[dict[str, Any]] = read_json(output / "scores.json")["models"]
        return found


def train(lab: Lab, arm: Arm, seed: int, rate: str, output: Path) -> float:
    """Train one model; returns the minutes it took."""
    mixed = lab.data.mixed(arm, seed, output.with_name(f"{output.name}-data"))
    if not (output / "run.json").exists():
        meant = {"RATE/3": _rate(arm, rate), "RATE*3": _rate(arm, rate), "STEPS/3": max(1, lab.steps // 3)}
        options = [meant.get(word, word) for word in arm.train]
        lr = [] if "--lr" in options else ["--lr", rate]
        beside = ["--replay", lab.data.replay(arm.beside, scored=False)] if arm.beside else []
        synth(
            *("train", mixed, "--model", MODEL, "-o", output, "--steps", lab.steps, "--batch-tokens", BATCH_TOKENS),
            *("--dtype", "bfloat16", "--device", "cpu", "--seed", seed, *lr, *beside, *options),
            log=output.with_name(f"{output.name}.log"),
        )
    return float(read_json(output / "run.json")["seconds"]) / 60


def _rate(arm: Arm, chosen: str) -> str:
    """The learning rate of an arm: the one given, a third of it, or three times as much."""
    factor = {"RATE/3": 1 / 3, "RATE*3": 3}
    return next((str(float(chosen) * factor[word]) for word in arm.train if word in factor), chosen)


def run_arm(lab: Lab, arm: Arm, seeds: int, rate: str) -> dict[str, Any]:
    """Train and measure one arm on the test split: `test` has one entry a seed."""
    folder = lab.folder / "arms" / arm.name.replace(" ", "_").replace("/", "-")
    done = folder / "result.json"
    if done.exists():
        found: dict[str, Any] = read_json(done)
        if len(found["test"]) >= seeds and found["rate"] == _rate(arm, rate) and found["steps"] == lab.steps:
            return found
        shutil.rmtree(folder)
    models: dict[str, Path] = {}
    minutes, ratios = [], []
    for seed in range(seeds):
        output = (
            lab.folder / "trained" / digest(asdict(replace(arm, name="", group="", merge=False)), rate, lab.steps, seed)
        )
        minutes.append(train(lab, arm, seed, rate, output))
        if arm.merge:
            ratio, output = _merge(lab, output, folder / f"seed-{seed}-swept")
            ratios.append(ratio)
        models[f"seed-{seed}"] = output
    target = lab.data.target(arm.target, arm.style)
    scores = lab.evaluate("test", models, folder / "scores", "--text", target)
    base, *trained = scores
    kept = {
        name: {suite: found["accuracy"] for suite, found in model["suites"].items()}
        for model in scores
        for name in [model["name"]]
    }
    result = {
        "arm": arm.name,
        "group": arm.group,
        "style": arm.style,
        "rate": _rate(arm, rate),
        "steps": lab.steps,
        "perplexity": next(iter(base["perplexity"].values())),
        "minutes": minutes,
        "ratios": ratios,
        "base": {"new": base["new"], "old": base["old"], "suites": kept["base"]},
        "test": [
            {name: model[name] for name in ("new", "old", "kept", "divergence")} | {"suites": kept[model["name"]]}
            for model in trained
        ],
    }
    done.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _merge(lab: Lab, tuned: Path, swept: Path) -> tuple[float, Path]:
    """The merge of a trained model with its base that half of the development split picks."""
    if not (swept / "scores.json").exists():
        lab.evaluate("dev", {"tuned": tuned}, swept, "--limit", 50, "--sweep", RATIOS, "--keep", KEEP)
    picked = read_json(swept / "scores.json")["sweep"]
    return (1.0 if picked["name"] == "tuned" else float(picked["name"])), Path(picked["model"])


def try_rate(lab: Lab, arm: Arm, rate: str) -> dict[str, float]:
    """What an arm comes to at a learning rate, on the development split: `new`, `old` and `kept`."""
    folder = lab.folder / "rates" / f"{arm.name}-{rate}-{lab.steps}".replace(" ", "_")
    train(lab, arm, 0, rate, folder)
    scores = folder.with_name(f"{folder.name}-scores")
    file = scores / "scores.json"
    found = read_json(file)["models"] if file.exists() else lab.evaluate("dev", {"tuned": folder}, scores)
    return {name: found[1][name] for name in ("new", "old", "kept")}
