"""`code` on further kinds of answers, tests and forgeries: the honest are right, the others are not."""

import pytest

from filters.sandbox import isolation_missing
from filters.verdict import Check, Settings, Task
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(Settings("code", seconds=3, memory=256))


def fenced(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


THIRD = "def f(x): return x / 3"
FAILING = "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(2), 4)\n"
FACTORIAL = "def factorial(n): return 1 if n < 2 else n * factorial(n - 1)"

HONEST = {
    "isclose without an import": (THIRD, "assert isclose(f(1), 1 / 3, rel_tol=1e-9)"),
    "sqrt, which the prompt does not name": (THIRD, "assert f(6) == sqrt(4)", "Write `f`."),
    "a name of math is what is tested": ("def gcd(a, b): return b and gcd(b, a % b) or a", "assert gcd(4, 6) == 2"),
    "one of several": (f"{THIRD}\n{FACTORIAL}", "assert f(3) == 1\nassert factorial(3) == 6"),
    "judged by another": (FACTORIAL, "assert isclose(factorial(5), 120)"),
    "numpy without an import": ("import numpy\ndef f(x): return numpy.array([x])", "assert np.array_equal(f(1), [1])"),
    "unittest's result is kept": (
        "def f(x): return x * x",
        f"{FAILING}assert unittest.main(argv=['x'], exit=False).result.wasSuccessful()",
    ),
    "the tests end by sys.exit": ("def f(x): return x * x", "import sys\nassert f(2) == 4\nsys.exit(0)"),
    "what exits is caught": (
        "import sys\nclass Stop(SystemExit): pass\ndef f(x): raise Stop(3) if x else SystemExit(2)",
        "for x, code in ((1, 3), (0, 2)):\n    try: f(x)\n    except SystemExit as stop: assert stop.code == code\n"
        "    else: assert False\nimport pytest\nwith pytest.raises(SystemExit): f(0)\nwith pytest.raises(Stop): f(1)",
    ),
}

FORGED = {
    "isclose": ("def isclose(*a, **k): return True\ndef f(x): return 5", "assert isclose(f(1), 1 / 3)"),
    "isclose of one of math": (
        "def isclose(*a, **k): return True\ndef factorial(n): return 1",
        "assert isclose(factorial(5), 120)",
    ),
    "sqrt": ("def f(x): return 5\ndef sqrt(x): return 5", "assert f(6) == sqrt(4)", "Write `f`."),
    "np": (
        "class np:\n    array_equal = staticmethod(lambda *a: True)\ndef f(x): return 5",
        "assert np.array_equal(f(1), [1])",
    ),
    "re": ("class re:\n    match = staticmethod(lambda *a: True)\ndef f(x): return ''", "assert re.match('a+$', f(1))"),
    "one of math is wrong": (f"{THIRD}\ndef factorial(n): return 1", "assert f(3) == 1\nassert factorial(3) == 6"),
    "unittest's result is lost": ("def f(x): return 5", f"{FAILING}unittest.main(argv=['x'], exit=False)"),
    "a runner's result is lost": (
        "def f(x): return 5",
        f"{FAILING}suite = unittest.defaultTestLoader.loadTestsFromTestCase(T)\nunittest.TextTestRunner().run(suite)",
    ),
    "a test's result is lost": ("def f(x): return 5", f"{FAILING}T('test').run(unittest.TestResult())"),
    "SystemExit is returned, and raised": ("def f(x): return SystemExit", "raise f(2)"),
    "a kind of it is returned, and raised": ("class E(SystemExit): pass\ndef f(x): return E", "raise f(2)"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest(check: Check, name: str) -> None:
    program, tests, *prompt = HONEST[name]
    assert check(fenced(program), Task(prompt="".join(prompt), columns={"tests": tests})).kind == "right"


@pytest.mark.parametrize("name", FORGED)
def test_forged(check: Check, name: str) -> None:
    program, tests, *prompt = FORGED[name]
    assert check(fenced(program), Task(prompt="".join(prompt), columns={"tests": tests})).kind == "wrong"
