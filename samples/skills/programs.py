# ruff: noqa: SIM905 - a list of words is read best as one line of text
"""The skill `code`: a short Python function, judged by what it returns when it is run."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from random import Random

from samples.skills.base import Form, Skill
from samples.skills.wordings import Slots

_VERBS = "get make find do run calc build take show test try pick form give tell read".split()
_NOUNS = "it value result item part score total data answer name box text code list word number".split()
SAMPLES: dict[str, list[object]] = {
    "number": [0, 1, 2, 3, 7, 10, 15, 24, 36, -4],
    "text": ["", "a", "abc", "banana", "Level", "hello world", "xyzzy eel"],
    "list": [[1], [3, 1, 2], [5, 5, -1, 8], [10, 20, 30, 40, 7], [2, 4, 6, 9, 12, 33]],
}
_NAMES_OF = {"number": "(number|integer|value)", "text": "(string|text)", "list": "(list|list of numbers)"}
_FUNCTIONS: tuple[tuple[str, str, str], ...] = (
    ("number", "adds {n} to {arg}", "{arg} + {n}"),
    ("number", "subtracts {n} from {arg}", "{arg} - {n}"),
    ("number", "multiplies {arg} by {n}", "{arg} * {n}"),
    ("number", "(squares {arg}|returns the square of {arg})", "{arg} ** 2"),
    ("number", "(tells|checks|says) (whether|if) {arg} is even", "{arg} % 2 == 0"),
    ("number", "(tells|checks|says) (whether|if) {arg} is odd", "{arg} % 2 == 1"),
    ("number", "(tells|checks|says) (whether|if) {arg} is (above|greater than|more than) {n}", "{arg} > {n}"),
    ("number", "(tells|checks|says) (whether|if) {arg} (can be divided|is divisible) by {n}", "{arg} % {n} == 0"),
    ("number", "returns the remainder of {arg} divided by {n}", "{arg} % {n}"),
    ("text", "(puts|turns|changes) {arg} (into|in) (capitals|upper case)", "{arg}.upper()"),
    ("text", "(reverses {arg}|returns {arg} reversed|turns {arg} around)", "{arg}[::-1]"),
    ("text", "repeats {arg} {n} times", "{arg} * {n}"),
    ("text", "returns the first {n} (letters|characters) of {arg}", "{arg}[:{n}]"),
    ("text", "(returns the length of|measures the length of) {arg}", "len({arg})"),
    ("text", 'counts (how often|the times) "{letter}" (is|occurs) in {arg}', '{arg}.count("{letter}")'),
    ("text", 'removes (every|each) "{letter}" from {arg}', '{arg}.replace("{letter}", "")'),
    ("text", "splits {arg} into words", "{arg}.split()"),
    ("list", "(adds up|sums) (all numbers in|the numbers of) {arg}", "sum({arg})"),
    ("list", "(returns|finds) the (largest|biggest) (number|item) of {arg}", "max({arg})"),
    ("list", "(returns|finds) the (smallest|least) (number|item) of {arg}", "min({arg})"),
    ("list", "sorts {arg}", "sorted({arg})"),
    ("list", "keeps the (numbers|items) of {arg} (above|greater than) {n}", "[v for v in {arg} if v > {n}]"),
    ("list", "adds {n} to each (number|item) of {arg}", "[v + {n} for v in {arg}]"),
    ("list", "multiplies each (number|item) of {arg} by {n}", "[v * {n} for v in {arg}]"),
    ("list", "returns the last (number|item) of {arg}", "{arg}[-1]"),
)
_CHILD = """
import json, sys
task = json.load(sys.stdin)
scope = {}
exec(task["code"], scope)
print(json.dumps([scope[task["name"]](value) for value in task["inputs"]]))
"""


@functools.lru_cache(maxsize=4096)
def run_function(code: str, name: str, kind: str, seconds: float = 5.0) -> str | None:
    """What a function returns for the sample inputs of its kind, as JSON; None if it fails or hangs.

    Runs in a bare interpreter of its own, since the code is a model's. That guards against crashes and
    endless loops, not against malice.
    """
    task = json.dumps({"code": code, "name": name, "inputs": SAMPLES[kind]})
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=task,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={},
        )
    except (subprocess.TimeoutExpired, ValueError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else None


def _function(kind: str, task: str, body: str) -> Form:
    def draw(rng: Random) -> Slots:
        return {
            "fn": f"{rng.choice(_VERBS)}_{rng.choice(_NOUNS)}",
            "arg": rng.choice(
                {"number": "n x k num m", "text": "s text word t", "list": "xs items nums v"}[kind].split()
            ),
            "n": str(rng.randint(2, 20)),
            "letter": rng.choice("abcdefghilmnoprstuy"),
        }

    def solve(slots: Slots) -> str:
        return f"def {slots['fn']}({slots['arg']}):\n    return " + body.format(**slots)

    def judge(slots: Slots, gold: str, text: str) -> bool:
        if text.strip() == gold:
            return True
        wanted = run_function(gold, slots["fn"], kind)
        return wanted is not None and run_function(text, slots["fn"], kind) == wanted

    def follow(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
        new = slots | {"fn": draw(rng)["fn"]}
        return rng.choice(["Now call it {}.", "Rename it to {}.", "Please name it {}."]).format(new["fn"]), solve(new)

    # The argument's kind is said in one wording and left to be guessed from the task in the others.
    of = _NAMES_OF[kind]
    wordings = (
        f"(Write|Give me|Define) a (Python|short Python) function {{fn}}({{arg}}) that {task}.",
        f"(In Python, write|Code|Show me) a function {{fn}}({{arg}}) that {task}.",
        f"I need a Python function (called|named) {{fn}} that takes a {of} {{arg}} and {task}.",
    )
    return Form(wordings, draw, solve, judge, follow)


code = Skill("code", ("Python", "code", "programming"), tuple(_function(*f) for f in _FUNCTIONS))
