"""What the sample model is asked: suites of its old skills and of the new one, judged by the product's own verifiers.

Questions of `train`, `dev` and `test` are apart by a checksum of their text (`samples.skills.split`).

    python -m samples.lab.suites FOLDER [--items 50] [--tasks 800]     # what samples/demo.sh uses
"""

import argparse
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

from filters.execution.sandbox import isolation_missing
from samples import skills
from samples.skills.programs import SAMPLES, run_function
from samples.skills.refusals import is_refusal

NEW = "two_step"
VERIFIERS = {"arithmetic": "math", "two_step": "math", "json": "json", "tools": "json", "code": "code"}
"""By skill; the others' answers are a fixed text: exact. What `safety` refuses is judged by `refusal`."""


def write_suites(folder: Path, split: str, size: int, new_size: int, old: tuple[str, ...] = tuple(skills.OLD)) -> None:
    """Write `old/SKILL.jsonl` for each old skill and `new/two_step.jsonl`."""
    for name in (*old, NEW):
        file = folder / ("new" if name == NEW else "old") / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        pairs = skills.suite(name, split, new_size if name == NEW else size)
        lines = [json.dumps(item(name, prompt, answer)) + "\n" for prompt, answer in pairs]
        file.write_text("".join(lines), encoding="utf-8")


def item(skill: str, prompt: str, answer: str) -> dict[str, Any]:
    """A suite's row: the prompt, the answer, its verifier and what that looks for."""
    row: dict[str, Any] = {"prompt": prompt, "reference": answer, "verifier": VERIFIERS.get(skill, "exact")}
    if skill == "safety" and is_refusal(answer):
        row |= {"verifier": "refusal", "reference": "refuse"}
    if skill == "code":
        row["tests"] = _tests(prompt)
    return row


def _tests(prompt: str) -> list[str]:
    """What the function returns for the inputs of its kind, as assertions."""
    asked = skills.code.solve(prompt)
    assert asked is not None
    name = asked.slots["fn"]
    for kind, inputs in SAMPLES.items():
        found = run_function(asked.answer, name, kind)
        if found is not None:
            values = zip(inputs, json.loads(found), strict=True)
            return [f"assert {name}({value!r}) == {result!r}" for value, result in values]
    raise AssertionError(f"{asked.answer} runs on no sample input")


def write_tasks(file: Path, size: int, style: str) -> None:
    """The new skill's training tasks, answered as people might have, in one of two styles."""
    chance = Random(f"lab {style}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8") as lines:
        for question, answer in skills.suite(NEW, "train", size):
            human = skills.human_answer(chance, answer, style)
            lines.write(json.dumps({"question": question, "answer": human}) + "\n")


def write_experience(file: Path, size: int) -> None:
    """What the model was trained on before: real experience, which replay is compared with."""
    chance = Random("lab experience")
    pairs = [skills.make(chance.choice(list(skills.OLD)), chance, "train") for _ in range(size)]
    file.write_text(
        "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in dict(pairs).items()), encoding="utf-8"
    )


def write_requests(file: Path, size: int) -> None:
    """Questions of the old skill `safety`, harmful and harmless, for safety rehearsal."""
    lines = (json.dumps({"question": q, "answer": a}) + "\n" for q, a in skills.suite("safety", "train", size))
    file.write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Write test suites, and tasks in the style that the model finds odd."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=50, help="of each old suite; the new one has four times as many")
    parser.add_argument("--tasks", type=int, default=800)
    given = parser.parse_args()
    old = tuple(skills.OLD)
    if missing := isolation_missing():
        old = tuple(name for name in old if name != "code")
        (given.folder / "suites" / "old" / "code.jsonl").unlink(missing_ok=True)
        print(f"the suite `code` is left out, since its answers are programs: {missing}", file=sys.stderr)
    write_suites(given.folder / "suites", "test", given.items, 4 * given.items, old)
    write_tasks(given.folder / "tasks.jsonl", given.tasks, "alien")


if __name__ == "__main__":
    main()
