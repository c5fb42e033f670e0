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

KEPT = "class Q:\n    def __init__(self, items): self.items = items\n    def add(self, x): self.items.append(x)\n"

CHANGED_LATER = {
    "by a method": (KEPT, "a = [1]\nq = Q(a)\nq.add(2)\nassert a == [1, 2]\nassert q.items is a"),
    "by a method that raises": (
        f"{KEPT}    def fail(self):\n        self.items.clear()\n        raise ValueError",
        "a = [1]\nq = Q(a)\ntry: q.fail()\nexcept ValueError: pass\nassert a == []",
    ),
    "by the tests": (KEPT, "a = [1]\nq = Q(a)\na.append(5)\nq.add(6)\nassert q.items == [1, 5, 6] == a"),
    "a copy is not": (
        KEPT.replace("= items", "= list(items)"),
        "a = [1]\nq = Q(a)\nq.add(2)\na.append(3)\nassert a == [1, 3] and q.items == [1, 2]",
    ),
    "by a closure": (
        "def logged(log):\n    def f(x):\n        log.append(x)\n        return x\n    return f",
        "log = []\nf = logged(log)\nf(1)\nf(2)\nassert log == [1, 2]",
    ),
    "around a block": (
        "from contextlib import contextmanager\n@contextmanager\ndef tag(log):\n    log.append('<')\n    yield len(log)\n    log.append('>')",
        "log = []\nwith tag(log) as n: log.append(n)\nassert log == ['<', 1, '>']",
    ),
    "by a generator": (
        "def fill(found):\n    for n in range(3):\n        found.add(n)\n        yield n",
        "found = set()\nfor n in fill(found): assert found == set(range(n + 1))\nassert found == {0, 1, 2}",
    ),
    "a dictionary, by name": (
        "class C:\n    def __init__(self, *, store): self.store = store\n    def put(self, k, v): self.store[k] = v",
        "d = {}\nc = C(store=d)\nc.put('a', 1)\nassert d == {'a': 1}\nd['b'] = 2\nassert c.store == {'a': 1, 'b': 2}\nc.store.clear()\nassert c.store == {}",
    ),
    "handed in twice": (
        f"{KEPT}def same(q, items): return q.items is items\ndef back(items): return items",
        "a = [1]\nq = Q(a)\nassert same(q, a) and not same(q, [1]) and back(a) is a",
    ),
    "many": (
        KEPT,
        "qs = [(Q(a), a) for a in [[n] for n in range(50)]]\nfor q, a in qs[-5:]:\n    q.add(0)\n    assert len(a) == 2",
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


@pytest.mark.parametrize("name", CHANGED_LATER)
def test_what_is_handed_in_may_change_later(check: Check, name: str) -> None:
    program, tests = CHANGED_LATER[name]
    verdict = check(fenced(program), Task(columns={"tests": tests}))
    assert verdict.kind == "right", verdict


@pytest.mark.parametrize("name", FORGED)
def test_forged(check: Check, name: str) -> None:
    program, tests, *prompt = FORGED[name]
    assert check(fenced(program), Task(prompt="".join(prompt), columns={"tests": tests})).kind == "wrong"
