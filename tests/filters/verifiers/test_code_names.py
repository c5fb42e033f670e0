"""A program that redefines what its tests use makes none of them pass: the tests' names are the real ones."""

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code", time_limit=3, memory_limit=256))


REDEFINES = {
    "abs": (
        """
abs=lambda x:0
def f(x): return 9
""",
        """
assert abs(f(2)-4)<1e-6
""",
    ),
    "len": (
        """
def len(x): return 3
def f(x): return []
""",
        """
assert len(f(2))==3
""",
    ),
    "sorted": (
        """
def sorted(x,**k): return [1,2]
def f(x): return []
""",
        """
assert sorted(f(2))==[1,2]
""",
    ),
    "isinstance": (
        """
def isinstance(a,b): return True
def f(x): return 'a'
""",
        """
assert isinstance(f(2),int)
""",
    ),
    "range": (
        """
def range(*a): return []
def f(x): return 0
""",
        """
for i in range(3): assert f(i)==i*i
""",
    ),
    "set all any": (
        """
set=lambda x:1
all=any=lambda x:True
def f(x): return 0
""",
        """
assert all(f(i)==i+1 for i in range(3)) and set(f(2) for _ in [1])=={5}
""",
    ),
    "math fake": (
        """
class math:
    pi=0
    isclose=staticmethod(lambda *a,**k:True)
def f(x): return 0
""",
        """
assert math.isclose(f(2),4)
""",
    ),
    "math fake inst": (
        """
class M:
    def __getattr__(s,n): return lambda *a,**k: True
math=M()
def f(x): return 0
""",
        """
assert math.isclose(f(2),4)
""",
    ),
    "math patched": (
        """
import math
math.isclose=lambda *a,**k:True
def f(x): return 0
""",
        """
assert math.isclose(f(2),4)
""",
    ),
    "np fake": (
        """
class np:
    allclose=staticmethod(lambda *a,**k:True)
def f(x): return 0
""",
        """
import numpy as np
assert np.allclose(f(2),4)
""",
    ),
    "AssertionError": (
        """
class AssertionError(Exception): pass
def f(x): return 0
""",
        """
assert f(2)==4
""",
    ),
    "counter": (
        """
class Counter(dict):
    def __init__(s,x): pass
    def __eq__(s,o): return True
def f(x): return 'zz'
""",
        """
from collections import Counter
assert Counter(f(2))==Counter('aab')
""",
    ),
}


@pytest.mark.parametrize("name", REDEFINES)
def test_the_tests_names_are_the_real_ones(check: Check, name: str) -> None:
    program, tests = REDEFINES[name]
    if "numpy" in tests:
        pytest.importorskip("numpy")
    assert check(f"```python\n{program}\n```", Task(columns={"tests": tests})).kind == "wrong"


ALIKE = "def isclose(*a, **k): return True\nallclose = array_equal = isclose\ndef sqrt(x): return 0\ndef f(x): return 0"
JUDGED = {
    "nothing is said": Task(columns={"tests": ["assert isclose(f(2), 4)"]}),
    "the prompt speaks of it": Task(None, "Write `f(x)`. `isclose(f(x), y)` is tried.", {"tests": ["assert isclose(f(2), 4)"]}),
    "the reference imports it": Task("from math import isclose\ndef f(x): return 2 * x", "", {"tests": ["assert isclose(f(2), 4)"]}),
    "a check of the entry": Task(None, "def f(x):\n    pass\n", {"test": "def check(candidate):\n    assert isclose(candidate(2), 4)\n", "entry_point": "f"}),
    "numpy's": Task(columns={"tests": ["assert allclose(f(2), 4)"]}),
    "what is expected": Task(None, "Write `f(x)`.", {"tests": ["assert f(2) == sqrt(2)"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", JUDGED)
def test_what_tests_judge_by_is_a_librarys_where_they_do_not_import_it(check: Check, name: str) -> None:
    assert check(f"```python\n{ALIKE}\n```", JUDGED[name]).kind == "wrong"


def test_honest_programs_pass_by_what_tests_do_not_import(check: Check) -> None:
    for tests in ("assert isclose(f(2), 4)", "assertEqual(f(2), 4)", "assert Counter([f(2)]) == Counter([4])"):
        assert check("def f(x): return 2 * x", Task(columns={"tests": [tests]})).kind == "right"
    assert (
        check("def assertEqual(a, b): pass\ndef f(x): return 0", Task(columns={"tests": ["assertEqual(f(2), 4)"]})).kind
        == "wrong"
    )
    own = Task(None, "Write a function `isclose(a, b)`.", {"tests": ["assert isclose(1, 2)", "assert not f(1)"]})
    assert check("def isclose(a, b): return True\ndef f(x): return 0", own).kind == "right"


def test_a_builtin_may_be_what_is_tested(check: Check) -> None:
    task = Task("def sum(a, b): return a + b", columns={"tests": ["assert sum(10, 15) == 25"]})
    assert check("def sum(a, b): return a + b", task).kind == "right"
    assert check("def sum(a, b): return a", task).kind == "wrong"
    only = Task(columns={"tests": ["assert len(list(filter([1, 2]))) == 1"]})
    assert check("def filter(xs): return xs[:1]\nlen = list = lambda xs: 1", only).kind == "right"
    assert check("def filter(xs): return xs\nlen = lambda xs: 1", only).kind == "wrong"


def test_what_the_prompt_defines_is_the_prompts(check: Check) -> None:
    prompt = "def double(x):\n    return 2 * x\n\ndef half(x):\n    '''Such that double(half(x)) is x.'''\n"
    test = "def check(candidate):\n    assert double(candidate(5)) == 5\n"
    task = Task(None, prompt, {"prompt": prompt, "test": test, "entry_point": "half"})
    assert check("    return x / 2\n", task).kind == "right"
    assert check("```python\ndef double(x): return 5\ndef half(x): return 0\n```", task).kind == "wrong"
