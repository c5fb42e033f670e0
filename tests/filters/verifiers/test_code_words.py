"""What only a program says of its values is not judged, and tests that say nothing judge nothing."""

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code", time_limit=3, memory_limit=256))


WORDS = {
    "choosy eq": (
        """
class A:
    def __eq__(s,o): return isinstance(o,int)
    __hash__=None
def f(x): return A()
""",
        """
assert f(2)==4
""",
    ),
    "choosy sub": (
        """
class A:
    def __sub__(s,o):
        if isinstance(o,int): return 0
        raise TypeError
def f(x): return A()
""",
        """
assert abs(f(2)-4)<1e-6
""",
    ),
    "choosy sub two": (
        """
class B:
    def __abs__(s): return 0
class A:
    def __sub__(s,o):
        if isinstance(o,int): return B()
        raise TypeError
def f(x): return A()
""",
        """
assert abs(f(2)-4)<1e-6
""",
    ),
    "choosy attr": (
        """
class B:
    v=True
class A:
    def __sub__(s,o):
        if isinstance(o,int): return B()
        raise TypeError
def f(x): return A()
""",
        """
assert (f(2)-4).v
""",
    ),
    "denies an order": (
        """
class A:
    def __lt__(s,o): return False
    def __gt__(s,o): return False
def f(x): return A()
""",
        """
if f(2)<4 or f(2)>4: raise AssertionError
""",
    ),
    "denies to contain": (
        """
class A:
    def __contains__(s,o): return False
def f(x): return A()
""",
        """
assert 5 not in f(2)
""",
    ),
    "choosy contains": (
        """
class A:
    def __contains__(s,o): return isinstance(o,int)
def f(x): return A()
""",
        """
assert 4 in f(2)
""",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_only_the_program_says_is_not_judged(check: Check, name: str) -> None:
    program, tests = WORDS[name]
    verdict = check(f"```python\n{program}\n```", Task(columns={"tests": tests}))
    assert verdict.kind == "unscorable" and "says of itself" in str(verdict.reason)
    failing = Task(columns={"tests": f"{tests}\nassert False"})
    assert check(f"```python\n{program}\n```", failing).kind == "wrong"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"tests": "def test_a(x): assert f(2) == 4"}, "test_a wants x"),
        ({"tests": "import math"}, "test nothing"),
        ({"tests": "import no_such_module\nassert f(2) == 4"}, "no_such_module"),
        ({"tests": "import sys\nassert f(sys) == 4"}, "cannot be sent"),
        ({"tests": "assert f.__code__"}, "__code__"),
        ({"test": "def helper(c): assert c(2) == 4", "entry_point": "f"}, "test nothing"),
    ],
)
def test_tests_that_say_nothing_are_unscorable(check: Check, columns: dict[str, str], reason: str) -> None:
    verdict = check("def f(x): return x * x", Task(columns=columns))
    assert verdict.kind == "unscorable" and reason in str(verdict.reason), verdict


@pytest.mark.parametrize(
    "program", ["class Solution:\n    def add(self, a, b): return a + b", "def add(a, b): return a + b"]
)
def test_calls_as_apps_has_them(check: Check, program: str) -> None:
    given = {"fn_name": "add", "inputs": [[1, 2], [[1], [2]]], "outputs": [3, [[1, 2]]]}
    response = f"```python\n{program}\n```"
    assert check(response, Task(columns={"input_output": given})).kind == "right"
    assert check(response.replace("+", "*"), Task(columns={"input_output": given})).kind == "wrong"
    lines = Task(columns={"inputs": [["a", "b"]], "outputs": [["ab"]]})
    assert check("print(input() + input())", lines).kind == "right"


def test_an_entry_point_may_be_a_method(check: Check) -> None:
    test = "def check(candidate):\n    assert candidate(x=4) == 2"
    task = Task(None, "", {"prompt": "import math\n", "entry_point": "Solution().root", "test": test})
    assert check("```python\nclass Solution:\n    def root(self, x): return math.isqrt(x)\n```", task).kind == "right"
    assert check("```python\nclass Solution:\n    def root(self, x): return x\n```", task).kind == "wrong"
