"""The lab's data sets: the new skill's tasks in several makings, and what is replayed. Each is made once.

For a style:  human, self-output, paraphrase, minimum-change (fallback: the human answer), and scored with loss masks:
masked (perplexity above 2.5), masked-random and masked-easiest (as many tokens).
For all:      magpie (the model's own questions and answers), magpie-many (four times as many), experience (what the
model was trained on), ssr, safety (its own answers to harmful and harmless requests).
"""

import json
from pathlib import Path

import datasets

from samples.lab.arms import HARD, Arm
from samples.lab.commands import ENGINE, MAX_TOKENS, MODEL, synth
from samples.lab.suites import write_experience, write_requests, write_tasks

MANY = 4
"""How many times as many rows `magpie-many` has."""
KEPT = 20
"""Examples that self-synthesised rehearsal begins with (arXiv 2403.01244)."""


class Data:
    """Where the sets are; whatever is asked for first is made."""

    def __init__(self, folder: Path, suites: Path, tasks: int, replay: int) -> None:
        """Nothing is made yet.

        Args:
            folder: where the sets go.
            suites: whose questions no replay set may hold.
            tasks: of the new skill.
            replay: rows of each replay set.
        """
        self._folder, self._suites = folder, suites
        self._tasks, self._replay = tasks, replay
        self._log = folder / "log.txt"

    def target(self, name: str, style: str) -> Path:
        """The new skill's tasks in one making."""
        tasks = self._folder / f"{style}.jsonl"
        if not tasks.exists():
            write_tasks(tasks, self._tasks, style)
        if name == "human":
            return tasks
        made = self._folder / f"{style}-{name}"
        if (made / "run.json").exists():
            return made
        ask = ("--model", MODEL, *ENGINE, "--max-tokens", MAX_TOKENS, "--verifier", "math")
        if name == "self-output":
            chosen = ("--samples", 8, "--select", "lowest-perplexity", "--fallback", "gold")
            synth(name, tasks, *ask, *chosen, "-o", made, log=self._log)
        elif name in ("paraphrase", "minimum-change"):
            synth(name, tasks, *ask, "-o", made, log=self._log)
        else:
            masks = ["--mask-above", HARD, *([] if name == "masked" else [f"--mask-{name.removeprefix('masked-')}"])]
            synth("score-tokens", tasks, "--model", MODEL, "--device", "cpu", *masks, "-o", made, log=self._log)
        return made

    def replay(self, name: str, *, scored: bool) -> Path:
        """A replay set; scored, too, where it is mixed with a scored one."""
        made = self._folder / f"{name}.jsonl"
        if not made.exists():
            getattr(self, f"_make_{name.replace('-', '_')}")(made)
        if not scored:
            return made
        tokens = self._folder / f"{name}-scored"
        if not (tokens / "run.json").exists():
            synth("score-tokens", made, "--model", MODEL, "--device", "cpu", "-o", tokens, log=self._log)
        return tokens

    def _make_magpie(self, made: Path) -> None:
        _write(made, self._drawn("magpie", self._replay * 2)[: self._replay])

    def _make_magpie_many(self, made: Path) -> None:
        _write(made, self._drawn("magpie-many", self._replay * MANY))

    def _drawn(self, name: str, rows: int) -> list[list[dict[str, str]]]:
        """The model asks and answers itself. What asks a suite's question is left out."""
        raw = self._folder / name
        ask = ("--model", MODEL, *ENGINE, "--max-tokens", MAX_TOKENS)
        synth("magpie", *ask, "-n", rows, "-o", raw, log=self._log)
        return self._clean(name, raw)

    def _clean(self, name: str, raw: Path) -> list[list[dict[str, str]]]:
        """The conversations of a data set that ask no question of any suite; how many did is written down."""
        asked = {_plain(json.loads(line)["prompt"]) for file in self._suites.rglob("*.jsonl") for line in _lines(file)}
        rows = [row["messages"] for row in datasets.load_from_disk(str(raw))]
        clean = [messages for messages in rows if _plain(messages[-2]["content"]) not in asked]
        counts = {"rows": len(rows), "questions of a suite": len(rows) - len(clean)}
        (self._folder / f"{name}-decontaminated.json").write_text(json.dumps(counts) + "\n", encoding="utf-8")
        return clean

    def _make_experience(self, made: Path) -> None:
        write_experience(made, self._replay)

    def _make_safety(self, made: Path) -> None:
        """The model's own refusals and its own helpful answers, each checked to be the one that is due."""
        requests, raw = self._folder / "requests.jsonl", self._folder / "safety"
        write_requests(requests, self._replay // 2)
        ask = ("--model", MODEL, *ENGINE, "--max-tokens", MAX_TOKENS, "--verifier", "refusal")
        synth("self-output", requests, *ask, "--samples", 1, "--temperature", 0, "-o", raw, log=self._log)
        _write(made, [row["messages"] for row in datasets.load_from_disk(str(raw))])

    def _make_ssr(self, made: Path) -> None:
        """Self-synthesised rehearsal from twenty examples of what the model was trained on before."""
        kept, raw = self._folder / "kept.jsonl", self._folder / "ssr"
        write_experience(kept, KEPT)
        ask = ("--model", MODEL, *ENGINE, "--max-tokens", MAX_TOKENS)
        synth("ssr", kept, *ask, "-n", self._replay // 4, "-o", raw, log=self._log)
        _write(made, self._clean("ssr", raw))

    def mixed(self, arm: Arm, seed: int, output: Path) -> Path:
        """What an arm trains on."""
        target = self.target(arm.target, arm.style)
        if not arm.replay:
            return target
        if not (output / "run.json").exists():
            scored = arm.target.startswith("masked")
            shares = [f"{self.replay(name, scored=scored)}:{share}" for name, share in arm.replay]
            replays = [word for share in shares for word in ("--replay", share)]
            synth("mix", target, *replays, "--seed", seed, "-o", output, log=self._log)
        return output


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _plain(question: str) -> str:
    return " ".join(question.casefold().split())


def _write(file: Path, conversations: list[list[dict[str, str]]]) -> None:
    text = "".join(json.dumps({"messages": messages}) + "\n" for messages in conversations)
    file.write_text(text, encoding="utf-8")
