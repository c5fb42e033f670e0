"""The lab of the switch: what becomes of a model that can think when it is trained on answers without thoughts.

`python -m samples.lab.switch -o switch`. Killed at any moment, the same command goes on. The hybrid model learns its
new skill from human answers, which have no thoughts, and is asked in both modes for all it could do before. Writes
results.json and table.md after each seed, then a plot. `--scale 0.1` is for a look.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

import synth
from samples.lab.suites import write_suites, write_tasks
from synth.reports.plots import draw_skills
from synth.values import Asked

MODEL = Path(__file__).resolve().parents[1] / "hybrid"
OLD = ("totals", "arithmetic", "lists", "strings", "tools", "safety")
STEPS, BATCH_TOKENS, RATE = 200, 1024, 3.5e-4
TASKS, REPLAY, ITEMS = 400, 1600, 40
"""Tasks of the new skill; rows of a replay set; items of an old suite, of which the new one has three times as many."""
SHARE = 4.0
"""Rows of replay for each of the tasks."""
THINKING_SHARE = 0.6
"""Of the rows of replay in both modes: thoughts are damaged first."""
MAX_TOKENS = 120
MODES = ("thinking", "plain")


@dataclass(frozen=True, slots=True)
class Arm:
    """One recipe.

    Attributes:
        name: what it is called.
        target: the tasks: with human answers (`human`), with thoughts that the model adds to them (`explained`), with
            its own thoughts and answers (`own`); `empty` are human answers as a trainer learns them that takes what
            follows the prompt of the thinking mode.
        replay: the mode or modes of the replay mixed in, if any.
    """

    name: str
    target: str = "human"
    replay: Asked | None = None


ARMS = (
    Arm("human answers, their empty thoughts learnt", "empty"),
    Arm("human answers"),
    Arm("human answers + replay, plain", replay="plain"),
    Arm("human answers + replay, thinking", replay="thinking"),
    Arm("human answers + replay, both modes", replay="both"),
    Arm("thoughts added + replay, both modes", "explained", "both"),
    Arm("self-output, thinking + replay, both modes", "own", "both"),
)

SHOWN = (
    "before training",
    "human answers, their empty thoughts learnt",
    "human answers",
    "human answers + replay, both modes",
    "thoughts added + replay, both modes",
)
"""In the plot."""

Row = dict[str, Any]


class Lab:
    """Where everything is; whatever is asked for first is made."""

    def __init__(self, folder: Path, scale: float, split: str = "test") -> None:
        """Nothing is made yet.

        Args:
            folder: where it goes.
            scale: of steps, tasks, replay and items.
            split: whose questions are asked.
        """
        self.folder, self.data, self.split = folder, folder / "data", split
        sizes = (STEPS, TASKS, REPLAY, ITEMS)
        self.steps, self.tasks, self.replay_rows, self.items = (max(3, round(scale * size)) for size in sizes)

    def target(self, name: str) -> Path:
        """The new skill's tasks in one making."""
        makers: dict[str, Callable[[], Iterable[Row]]] = {
            "human": lambda: self.human,
            "empty": lambda: map(_learning_empty_thoughts, self.human),
            "explained": self._explained,
            "own": self._own,
        }
        file = self.data / f"{name}.jsonl"
        if not file.exists():
            made = "".join(json.dumps(row) + "\n" for row in makers[name]())
            file.write_text(made, encoding="utf-8")
        return file

    @cached_property
    def human(self) -> list[Row]:
        """The tasks as conversations with human answers."""
        file = self.data / "tasks.jsonl"
        if not file.exists():
            write_tasks(file, self.tasks, "natural")
        pairs = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        return [_conversation(pair["question"], pair["answer"]) for pair in pairs]

    def _explained(self) -> list[Row]:
        """Human answers with thoughts of the model's that lead there; without them where it found none."""
        with _loaded() as model:
            explained = synth.reason(
                model,
                self.human,
                explain=True,
                verifier="math",
                samples=2,
                select="first",
                max_tokens=MAX_TOKENS,
                output=self.data / "reason",
            )
            found = {row["messages"][0]["content"]: row["messages"] for row in explained}
        return [{"messages": found.get(row["messages"][0]["content"], row["messages"])} for row in self.human]

    def _own(self) -> list[Row]:
        """The model's own right thoughts and answers; the human answer where it has none."""
        with _loaded(mode="thinking") as model:
            rows = synth.self_output(
                model,
                self.human,
                verifier="math",
                samples=4,
                fallback=["gold"],
                max_tokens=MAX_TOKENS,
                output=self.data / "self-output",
            )
            return [{"messages": row["messages"]} for row in rows]

    def replay(self, mode: Asked) -> Path:
        """The model's own questions and answers in a mode, or in both by turns."""
        made = self.data / f"replay-{mode}"
        if not (made / "run.json").exists():
            with _loaded(mode=mode) as model:
                synth.magpie(model, rows=self.replay_rows, max_tokens=MAX_TOKENS, output=made)
        return made

    def train(self, arm: Arm, seed: int) -> Path:
        """The model that an arm makes."""
        place = self.folder / "trained" / f"{_slug(arm.name)}-{seed}"
        data = self.target(arm.target)
        if arm.replay:
            mixed = place.with_name(f"{place.name}-data")
            synth.mix(data, {self.replay(arm.replay): SHARE}, seed=seed, output=mixed)
            data = mixed
        training = synth.train(
            data,
            MODEL,
            output=place,
            steps=self.steps,
            tokens_per_batch=BATCH_TOKENS,
            learning_rate=RATE,
            dtype="bfloat16",
            device="cpu",
            seed=seed,
        )
        return Path(training)

    def scores(self, arms: Sequence[Arm], seed: int) -> list[Row]:
        """What the hybrid model and those that the arms make of it can do, in both modes."""
        suites = self.folder / "suites"
        if not (suites / "new").exists():
            write_suites(suites, self.split, self.items, 3 * self.items, OLD)
        models = {"before": _loaded()} | {_slug(arm.name): _loaded(self.train(arm, seed)) for arm in arms}
        found = synth.evaluate(
            sorted((suites / "old").iterdir()),
            new=sorted((suites / "new").iterdir()),
            models=models,
            max_tokens=MAX_TOKENS,
            output=self.folder / "scores" / str(seed),
        )
        return [_summary(model) for model in found.scores["models"]]


def _conversation(question: str, answer: str) -> Row:
    turns = (("user", question), ("assistant", answer))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _learning_empty_thoughts(row: Row) -> Row:
    """All that follows the prompt of the thinking mode, as tokens and labels: empty thoughts, then the answer."""
    tokenizer = _tokenizer()
    prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(row["messages"], return_dict=False)
    return row | {"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt) :]}


@cache
def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


def _loaded(model: Path = MODEL, mode: Asked | None = None) -> synth.Model:
    return synth.load(model, engine="transformers", device="cpu", mode=mode, thinking_share=THINKING_SHARE)


def _slug(name: str) -> str:
    return "-".join(name.replace(",", "").replace("+", "and").split())


def _summary(model: Row) -> Row:
    """The figures of one model, 0 to 1, but for the tokens of its thoughts."""
    suites = model["suites"]
    found: Row = {"kept": model["kept"], "thought_tokens": model["modes"]["thinking"]["thought_tokens"]}
    for mode in MODES:
        old = [figures["accuracy"] for figures in suites.values() if figures["mode"] == mode and not figures["new"]]
        found[f"new, {mode}"] = suites[f"two_step, {mode}"]["accuracy"]
        found[f"old, {mode}"] = statistics.mean(old)
        found[f"obeyed, {mode}"] = model["modes"][mode]["accuracy"]
        found[f"totals, {mode}"] = suites[f"totals, {mode}"]["accuracy"]
    return found


COLUMNS = (
    *(f"{what}, {mode}" for what in ("new", "old", "totals", "obeyed") for mode in MODES),
    "kept",
)


def table(results: dict[str, list[Row]]) -> str:
    """A Markdown table: a row an arm; percent, mean ± standard deviation over the seeds; what is kept for each mode."""
    lines = [f"| | {' | '.join(COLUMNS)} | tokens of thoughts |", "|---|" + "---:|" * (len(COLUMNS) + 1)]
    for name, runs in results.items():
        cells = [_spread([run[column] for run in runs if run[column] is not None]) for column in COLUMNS]
        length = statistics.mean(run["thought_tokens"] for run in runs)
        lines.append(f"| {name} | {' | '.join(cells)} | {length:.0f} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(set(values)) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("switch"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="ARM", help="these arms alone")
    parser.add_argument("--scale", type=float, default=1.0, help="of steps, tasks, replay and items: 0.1 for a look")
    given = parser.parse_args()
    known = [arm.name for arm in ARMS]
    if unknown := [name for name in given.only or () if name not in known]:
        parser.error(f"no arm {unknown[0]!r}; there are: {'; '.join(known)}")
    arms = [arm for arm in ARMS if not given.only or arm.name in given.only]
    lab = Lab(given.output, given.scale)
    lab.data.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Row]] = {}
    for seed in range(given.seeds):
        for name, figures in zip(["before training", *(arm.name for arm in arms)], lab.scores(arms, seed), strict=True):
            results.setdefault(name, []).append(figures)
        (lab.folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (lab.folder / "table.md").write_text(table(results), encoding="utf-8")
        print(f"{seed + 1} of {given.seeds} seeds\n{table(results)}", file=sys.stderr, flush=True)
    bars = {
        name: {column: statistics.mean(run[column] for run in runs) for column in COLUMNS[:-1]}
        for name, runs in results.items()
        if name in SHOWN
    }
    draw_skills(bars, lab.folder / "switch.svg")
    print(table(results))


if __name__ == "__main__":
    main()
