"""`code` on further kinds of answers, tests and forgeries: the honest are right, the others are not."""

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code", time_limit=3, memory_limit=256))


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

ADD = "def add(a, b):\n    return a + b"

FORMS = {
    "few-shot marks": f"[BEGIN]\n{ADD}\n[DONE]",
    "in a line": "Use `def add(a, b): return a + b` here.",
    "a lambda in a line": "Use `add = lambda a, b: a + b`.",
    "a session": "```python\n>>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n```",
    "the language on a line of its own": f"```\npython\n{ADD}\n```",
    "a fence in a docstring": '```python\ndef add(a, b):\n    """\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b\n```',
    "a fence closed deeper": f"```python\n{ADD}\n    ```\nThen:\n```python\nprint(add(1, 2))\n```",
    "a mark of the end": f"```python\n{ADD}\n```<|im_end|>",
    "it reads at the end": f"```python\n{ADD}\n\na, b = map(int, input().split())\nprint(add(a, b))\n```",
    "HTML": f'<pre><code class="language-python">\n{ADD}\n</code></pre>',
    "HTML in one line": '<pre><code class="language-python">def add(a, b):\n    return a + b</code></pre>',
    "a notebook's cell": f"```python\n!pip install numpy\n%matplotlib inline\n{ADD}\n```",
    "a notebook's magic": f"```python\n%%time\n{ADD}\n```\n```python\nadd(1, 2)\n```",
    "a session with IPython": "```python\nIn [1]: def add(a, b):\n   ...:     return a + b\n   ...:\n\nIn [2]: add(1, 2)\nOut[2]: 3\n```",
    "a first try that was wrong": f"```python\ndef add(a, b):\n    return a\n```\nWait, here is it corrected:\n```python\n{ADD}\n```",
    "tests of its own that fail": f"```python\n{ADD}\n```\n```python\nassert add(1, 2) == 4\n```",
    "imports in a block of their own": "```python\nfrom typing import Optional\n```\n```python\ndef add(a: int, b: Optional[int]) -> int:\n    return a + b\n```",
    "an annotation without its import": "```python\ndef add(a: Optional[int], b: List[int]) -> Any:\n    return a + b\n```",
}

SOLUTION = "class Solution:\n    def top(self, xs: List[int]) -> int:\n        return Counter(xs).most_common(1)[0][0]"

MORE = {
    "what LeetCode imports": (SOLUTION, "assert Solution().top([1, 2, 2]) == 2"),
    "from solution": (ADD, "from solution import add\ndef test_add(): assert add(1, 2) == 3"),
    "from main, all": (ADD, "from main import *\nassert add(1, 2) == 3"),
    "import solution": (ADD, "import solution as s\nassert s.add(1, 2) == 3"),
    "a mock": (
        "def run(service): return service.get('a') + service.count",
        "from unittest.mock import Mock\nm = Mock(count=3)\nm.get.return_value = 2\nassert run(m) == 5\n"
        "m.get.assert_called_once_with('a')",
    ),
    "a mock that is entered": (
        "def f(m):\n    with m.open('a') as h: return h.read()",
        "from unittest.mock import MagicMock\nm = MagicMock()\n"
        "m.open.return_value.__enter__.return_value.read.return_value = 'x'\nassert f(m) == 'x'",
    ),
    "a signature": (
        "def f(a, b: int = 2, *c, d=None) -> str: ...\nclass A:\n    def __init__(self, x, y=1): ...",
        "import inspect\ns = inspect.signature(f)\nassert str(s) == '(a, b: int = 2, *c, d=None) -> str'\n"
        "assert s.parameters['d'].default is None\nassert list(inspect.signature(A).parameters) == ['x', 'y']",
    ),
}

UNJUDGED = {
    "a class derived in the tests": (
        "class Base:\n    def run(self): return self.step() + 1\n    def step(self): raise NotImplementedError",
        "class D(Base):\n    def step(self): return 5\nassert D().run() == 6",
    ),
    "annotations that are no plain types": (
        "def f(a: list[int]): ...",
        "import inspect\nassert inspect.signature(f).parameters['a'].annotation == list[int]",
    ),
    "source": (ADD, "import inspect\nassert 'return' in inspect.getsource(add)"),
    "whether it is a function": (ADD, "import inspect\nassert inspect.isfunction(add)"),
    "a name of the program changed": (ADD, "import solution\nsolution.LIMIT = 3\nassert solution.add(1, 2) == 3"),
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

LIAR = "import numpy as np\nclass A(np.ndarray):\n    def NAME(s, *a, **k): return True\ndef f(x): return np.zeros(1).view(A)"

FORGED = {
    "numpy's functions": (
        LIAR.replace("NAME", "__array_function__"),
        "import numpy as np\nassert np.allclose(f(2), [4])",
    ),
    "numpy's operators": (
        LIAR.replace("NAME", "__array_ufunc__"),
        "import numpy as np\nassert np.equal(f(2), [4]).all()",
    ),
    "a list that is changed later": (
        "K = []\ndef f(x):\n    K.append(x)\n    return K",
        "r = f(2)\nassert r == [2] and f(3) == [3]",
    ),
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
    "a mock is told that it was called": (
        "def run(m):\n    for name in ('called', 'call_count', 'mock_calls', 'assert_called_once', 'return_value'):\n"
        "        try: setattr(m, name, 1)\n        except AttributeError: pass\n"
        "    for name in ('configure_mock', 'reset_mock'):\n"
        "        try: getattr(m, name)(called=True)\n        except AttributeError: pass",
        "from unittest.mock import Mock\nm = Mock()\nrun(m)\nm.assert_called_once()",
    ),
    "from solution": ("def add(a, b): return a - b", "from solution import add\nassert add(1, 2) == 3"),
    "from solution, which has no such name": (
        "def plus(a, b): return a + b",
        "from solution import add\nassert add(1, 2) == 3",
    ),
    "a signature": ("def f(a): ...", "import inspect\nassert 'b' in inspect.signature(f).parameters"),
    "SystemExit is returned, and raised": ("def f(x): return SystemExit", "raise f(2)"),
    "a kind of it is returned, and raised": ("class E(SystemExit): pass\ndef f(x): return E", "raise f(2)"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest(check: Check, name: str) -> None:
    program, tests, *prompt = HONEST[name]
    assert check(fenced(program), Task(prompt="".join(prompt), columns={"tests": tests})).kind == "right"


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_answers(check: Check, name: str) -> None:
    task = Task(columns={"test_list": ["assert add(1, 2) == 3"]})
    assert check(FORMS[name], task).kind == "right"
    assert check(FORMS[name].replace("a + b", "b"), task).kind == "wrong"


@pytest.mark.parametrize("name", MORE)
def test_kinds_of_tests(check: Check, name: str) -> None:
    program, tests = MORE[name]
    verdict = check(fenced(program), Task(columns={"tests": tests}))
    assert verdict.kind == "right", verdict


@pytest.mark.parametrize("name", UNJUDGED)
def test_what_cannot_be_judged_is_unscorable(check: Check, name: str) -> None:
    program, tests = UNJUDGED[name]
    assert check(fenced(program), Task(columns={"tests": tests})).kind == "unscorable"


def test_an_entry_point_without_a_check(check: Check) -> None:
    """As BigCodeBench has it: the tests are a class of unittest's."""
    test = "import unittest\nclass TestCases(unittest.TestCase):\n    def test(self): self.assertEqual(task(2), 4)\n"
    columns = {"test": test, "entry_point": "task", "prompt": "def task(x):\n"}
    assert check(fenced("def task(x): return x * 2"), Task(columns=columns)).kind == "right"
    assert check(fenced("def task(x): return x * 3"), Task(columns=columns)).kind == "wrong"


@pytest.mark.parametrize(
    ("said", "wanted", "kind"),
    [
        ("0.3333333333333333", "0.333333333333", "right"),
        ("0.333333", "0.333333333333", "right"),
        ("0.033333", "0.0333333333", "right"),
        ("1", "1.0", "right"),
        ("1.0 2.50", "1.0 2.5", "right"),
        ("0.33", "0.333333333333", "wrong"),
        ("0.0000002", "0.0000001", "wrong"),
        ("1.0", "1", "wrong"),
        ("3.2", "3.1", "wrong"),
        ("1e9", "1.0", "wrong"),
        ("nan", "1.0", "wrong"),
    ],
)
def test_decimal_fractions_of_output(check: Check, said: str, wanted: str, kind: str) -> None:
    assert check(fenced(f"print('{said}')"), Task(columns={"inputs": [""], "outputs": [wanted]})).kind == kind


@pytest.mark.parametrize("name", CHANGED_LATER)
def test_what_is_handed_in_may_change_later(check: Check, name: str) -> None:
    program, tests = CHANGED_LATER[name]
    verdict = check(fenced(program), Task(columns={"tests": tests}))
    assert verdict.kind == "right", verdict


@pytest.mark.parametrize("name", FORGED)
def test_forged(check: Check, name: str) -> None:
    program, tests, *prompt = FORGED[name]
    assert check(fenced(program), Task(prompt="".join(prompt), columns={"tests": tests})).kind == "wrong"
