"""`code`: honest programs pass their tests, across two processes, and others do not."""

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    yield checker(VerifierSettings("code", time_limit=5))


HONEST = {
    "data of all kinds": (
        "def f(x): return x",
        "for x in (None, True, 1, -2**80, 1.5, float('inf'), 2j, 'ä\\0', b'x', [1, (2,)], {1: {2}}, frozenset('a'), range(3)):\n"
        "    assert f(x) == x and type(f(x)) is type(x)",
    ),
    "subclasses as their plain base": (
        "from collections import Counter, OrderedDict, namedtuple\nP = namedtuple('P', 'a b')\n"
        "def f(): return Counter('aab'), OrderedDict(a=1), P(1, 2)",
        "assert f() == ({'a': 2, 'b': 1}, {'a': 1}, (1, 2))",
    ),
    "changes in place": (
        "def f(a, d, s):\n    a.sort(); d['x'] = 1; s.add(3)",
        "a, d, s = [3, 1], {}, {1}\nf(a, d, s)\nassert (a, d, s) == ([1, 3], {'x': 1}, {1, 3})",
    ),
    "exceptions": (
        "class Mine(ValueError): pass\ndef f(x):\n    if x: raise Mine('bad')\n    return {}['k']",
        "try:\n    f(1)\nexcept ValueError as error:\n    assert 'bad' in str(error)\nelse:\n    assert False\n"
        "try:\n    f(0)\nexcept KeyError:\n    pass",
    ),
    "generators": ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\nassert next(f(1)) == 0"),
    "classes": (
        "class Node:\n    def __init__(self, v): self.v = v; self.next = None\n    def __eq__(self, o): return self.v == o.v\n"
        "def second(n): return n.next.v",
        "a = Node(1); a.next = Node(2)\nassert second(a) == 2 and a.next.v == 2 and a == Node(1) and not a == Node(5)",
    ),
    "containers of its own": (
        "class Bag:\n    def __init__(self): self.d = {}\n    def __len__(self): return len(self.d)\n"
        "    def __getitem__(self, k): return self.d[k]\n    def __setitem__(self, k, v): self.d[k] = v\n"
        "    def __iter__(self): return iter(self.d)\n    def __str__(self): return 'bag'\n"
        "    def __add__(self, o): return len(self) + len(o)",
        "b = Bag()\nb['x'] = 5\nassert len(b) == 1 and b['x'] == 5 and 'x' in b and 'y' not in b and str(b) == 'bag' and b + b == 2",
    ),
    "functions given to it": ("def f(g, xs): return sorted(map(g, xs))", "assert f(lambda x: -x, [1, 2]) == [-2, -1]"),
    "types given to it": (
        "def f(xs, t): return [x for x in xs if not isinstance(x, t)]",
        "assert f([1, 'a'], int) == ['a']",
    ),
    "named arguments": ("def f(a, *, b=2): return a * b", "assert f(3) == 6 and f(a=3, b=3) == 9"),
    "what it imports and defines": (
        "import math\nLIMIT = [1]\ndef f(x): return x",
        "assert math.pi > f(3) and LIMIT == [1]",
    ),
    "prints": ("print('x' * 10**5)\ndef f(x):\n    print(x)\n    return x", "assert f(1) == 1"),
    "a main guard": ("def f(): return 1\nif __name__ == '__main__':\n    raise SystemExit", "assert f() == 1"),
    "files of its own": ("def f():\n    open('x', 'w').write('y')\n    return open('x').read()", "assert f() == 'y'"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs(check: Check, name: str) -> None:
    program, tests = HONEST[name]
    verdict = check(f"Here:\n```python\n{program}\n```\nIt works.", Task(columns={"tests": tests}))
    assert verdict.kind == "right", verdict
    assert verdict.answer == program + "\n"


@pytest.mark.parametrize(
    ("response", "columns", "kind", "reason"),
    [
        ("def f(x): return x", {"tests": ["assert f(1) == 2"]}, "wrong", "assert f(1) == 2: AssertionError"),
        ("def g(x): return x", {"tests": ["assert f(1) == 2"]}, "wrong", "NameError"),
        ("def f(x) return x", {"tests": ["assert f(1) == 2"]}, "wrong", "no program found"),
        ("```python\ndef f(x) return\n```", {"tests": ["assert f(1)"]}, "wrong", "SyntaxError"),
        ("raise ValueError('no')", {"tests": ["assert f(1) == 2"]}, "wrong", "ValueError: no"),
        ("I would rather not.", {"tests": ["assert f(1) == 2"]}, "wrong", "no program found"),
        ("", {"tests": ["assert f(1) == 2"]}, "wrong", "no program found"),
        ("def f(x): return x", {"tests": ["assert f(1) =="]}, "unscorable", "do not parse"),
        ("def f(x): return x", {}, "unscorable", "no tests"),
        ("def f(x): return x", {"input_output": "{"}, "unscorable", "no JSON"),
        ("def f(x): return x", {"inputs": ["1"], "outputs": []}, "unscorable", "no tests"),
        ("def g(x): return x", {"test": "def check(c): pass", "entry_point": "f"}, "wrong", "defines no f"),
    ],
)
def test_verdicts_say_why(check: Check, response: str, columns: dict[str, Any], kind: str, reason: str) -> None:
    verdict = check(response, Task(columns=columns))
    assert verdict.kind == kind
    assert reason in (verdict.reason or "")


def test_programs_that_read_and_write(check: Check) -> None:
    task = Task(columns={"inputs": ["1 2\n", "3 4\n"], "outputs": ["3", "7"]})
    assert check("a, b = map(int, input().split())\nprint(a + b)", task).kind == "right"
    assert check("import sys\nprint(sum(map(int, sys.stdin.read().split())))", task).kind == "right"
    wrong = check("a, b = map(int, input().split())\nprint(a * b)", task)
    assert wrong.kind == "wrong" and wrong.reason == "case 1 writes '2', not '3'"
    assert check("raise SystemExit(3)", task).reason == "it ended with status 3"
    assert check("while True: print('x' * 10**6)", task).kind == "wrong"
    assert check("while True: pass", task).reason == "took longer than 5 s"
    as_json = Task(columns={"input_output": json.dumps({"inputs": ["5\n"], "outputs": ["25\n"]})})
    assert check("print(int(input()) ** 2)", as_json).kind == "right"


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("print(5, flush=True)\nwhile True: pass", "wrong"),
        ("import os\nprint(5, flush=True)\nos.close(1)\nwhile True: pass", "wrong"),
        ("import threading, time\nprint(5)\nthreading.Thread(target=time.sleep, args=(60,)).start()", "wrong"),
        (
            "import threading, time\nprint(5)\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "right",
        ),
        ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print(5))).start()", "right"),
        ("import atexit, sys\natexit.register(print, 5)\nsys.exit()", "right"),
        ("import os\nos.write(1, b'5')\nos._exit(0)", "right"),
        ("import sys\nprint(5)\nsys.stdout.flush()\nsys.stdout.close()", "right"),
        ("import __main__\nx = 5\nif __name__ == '__main__': print(__main__.x)", "right"),
    ],
)
def test_how_a_program_ends(program: str, kind: str) -> None:
    check = checker(VerifierSettings("code", time_limit=2))
    verdict = check(f"```python\n{program}\n```", Task(columns={"inputs": [""], "outputs": ["5"]}))
    assert verdict.kind == kind, verdict


def test_the_last_block_that_defines_something_is_the_program(check: Check) -> None:
    response = "```python\ndef f(x): return 0\n```\nBetter:\n```python\ndef f(x): return x\n```\nCall it:\n```python\nf(1)\n```"
    assert check(response, Task(columns={"tests": ["assert f(1) == 1"]})).kind == "right"


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / name).read_text().splitlines()]


def task(row: dict[str, Any]) -> Task:
    return Task(row.get("code") or row["canonical_solution"], row.get("prompt", ""), row)


@pytest.mark.parametrize(("name", "count"), [("mbpp/mbpp.jsonl", 974), ("humaneval/HumanEval.jsonl", 164)])
def test_reference_programs_pass_their_own_tests_and_no_others(check: Check, data: Path, name: str, count: int) -> None:
    found = rows(data, name)
    assert len(found) == count
    failed = [row["task_id"] for row in found if check(task(row).reference or "", task(row)).kind != "right"]
    assert failed == []
    sample = random.Random(1).sample(found, 60)
    for row, other in pairwise(sample):
        program = task(other).reference or ""
        if "entry_point" in other:
            program = other["prompt"] + program
        assert check(program, task(row)).kind == "wrong", (row["task_id"], other["task_id"])


def test_a_completion_and_a_whole_function_both_solve_humaneval(check: Check, data: Path) -> None:
    for row in rows(data, "humaneval/HumanEval.jsonl")[:40]:
        whole = f"Sure:\n```python\n{row['prompt']}{row['canonical_solution']}\n```"
        assert check(whole, task(row)).kind == "right", row["task_id"]
        assert check(f"```python\n{row['prompt']}    return None\n```", task(row)).kind == "wrong", row["task_id"]
