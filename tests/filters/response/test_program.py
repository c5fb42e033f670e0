"""Which of a response's code is the program."""

import textwrap

import pytest

from filters.response.code_blocks import bare_code, fenced_blocks
from filters.response.program import code_given, completed, own_names, program_in

SQUARE = "def f(x):\n    return x * x\n"


def fenced(code: str, tag: str = "python", fence: str = "```") -> str:
    return f"{fence}{tag}\n{code}{fence}\n"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\nx = 1\n```", [("python", "x = 1\n")]),
        ("```Python3 title=a.py\r\nx = 1\r\n```\r\n", [("python3", "x = 1\n")]),
        ("~~~~py\nx = '''\n~~~\n'''\n~~~~\n", [("py", "x = '''\n~~~\n'''\n")]),
        ("```{.python .numberLines}\nx = 1\n```", [("python", "x = 1\n")]),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```\n", [("python", "if x:\n    y\n")]),
        ("- ```python\n  if x:\n      y\n  ```\n", [("python", "if x:\n    y\n")]),
        ("\t```\n\tif x:\n\t    y\n\t```\n", [("", "if x:\n    y\n")]),
        ("   ```python\nif x:\n  y\n   ```\n", [("python", "if x:\n  y\n")]),  # only the fence is indented
        ("> ```python\n> if x:\n>\n>     y\n> ```\n", [("python", "if x:\n\n    y\n")]),
        ("````markdown\n# A\n```python\nx = 1\n```\n````\n", [("python", "x = 1\n")]),
        ("```python\nx = 1", [("python", "x = 1")]),
        ("Use `x` or ```x = 1``` inline.\n", []),
        ("```\n1 2\n```\n```c++\nint x;\n```", [("", "1 2\n"), ("c++", "int x;\n")]),
    ],
)
def test_fenced_blocks(text: str, blocks: list[tuple[str, str]]) -> None:
    assert fenced_blocks(text) == blocks


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (f"Here it is.\n\n{SQUARE}\nThis works.", [SQUARE + "\n"]),
        (f"Solution\n\n{SQUARE}\nDone", [SQUARE + "\n"]),
        (f"So:\n\n{textwrap.indent(SQUARE, '    ')}\nIt squares x.", [SQUARE + "\n"]),
        (f"{SQUARE}Use it:\nprint(f(2))\nIt prints 4.", [SQUARE, "print(f(2))\n"]),
        ("def f(x) return x", []),
        ("I would rather not.\nfor example, no (really) = nothing", []),
        ("    return x\n", ["    return x\n"]),
        ("", []),
    ],
)
def test_code_without_a_fence(text: str, pieces: list[str]) -> None:
    assert bare_code(text) == pieces


def test_long_texts_without_code_take_no_time() -> None:
    assert bare_code("if it is so (and it is\n" * 8000) == []
    assert fenced_blocks("``` \n" * 20_000)


HELPER = "import math\ndef helper(x):\n    return math.floor(x)\n"
USER = "def f(x):\n    return helper(x)\n"
NODE = "class Node:\n    def __init__(self, v):\n        self.v = v\n"


@pytest.mark.parametrize(
    ("blocks", "wanted", "chosen"),
    [
        ([SQUARE, "print(f(2))\n"], "f", [0]),
        ([SQUARE, "def main():\n    print(f(2))\nmain()\n"], "f", [0]),
        ([SQUARE, "from solution import f\ndef test_f():\n    assert f(2) == 4\n"], "f", [0]),
        ([SQUARE, ">>> f(2)\n4\n"], "f", [0]),
        (["def f(x):\n    return 0\n", SQUARE], "f", [1]),
        ([SQUARE, "def f(x):\n    '''Squares.'''\n    ...\n"], "f", [0]),
        ([HELPER, USER, "print(f(2.5))\n"], "f", [0, 1]),
        ([USER, HELPER], "f", [0, 1]),
        (["from math import *\n", "def f(x):\n    return floor(x)\n"], "f", [0, 1]),
        (["LIMIT = 3\n", "import os\n", "def f(x):\n    return LIMIT\n"], "f", [0, 2]),
        ([NODE, "def f(x):\n    return Node(x).v\n", "print(f(1))\n"], "f Node", [0, 1]),
        (["f = lambda x: x\n", "f(1)\n"], "f", [0]),
        (["import math\n" + SQUARE, "import math\nprint(f(math.pi))\n"], "f math", [0]),
        (["n = int(input())\nprint(n)\n", "5\n"], "", [0]),
        (["import sys\ndef main():\n    print(sys.stdin.read())\nmain()\n", "3 4\n5\n", "7\n"], "", [0]),
        (["def solve(n):\n    return n\n", "print(solve(int(input())))\n", "1\n2\n"], "", [0, 1]),
        (["print(int(input()))\n", "def test():\n    assert 1\n"], "", [0]),
    ],
)
def test_blocks_that_define_what_is_wanted(blocks: list[str], wanted: str, chosen: list[int]) -> None:
    program = program_in("\n".join(map(fenced, blocks)), wanted.split())
    assert program == "\n".join(blocks[at] for at in chosen)


def test_tags_do_not_decide() -> None:
    for tag in ("", "text", "javascript", "Python"):
        response = fenced("pip install x\n", "bash") + fenced(SQUARE, tag) + fenced("4\n", "") + fenced("f(2)\n")
        assert program_in(response, ["f"]) == SQUARE
    assert program_in(f"I print 3:\n```text\n3\n```\n{SQUARE}\nDone.", ["f"]) == SQUARE + "\n"
    assert program_in(fenced("console.log(1)\n", "js")) == "console.log(1)\n"
    assert program_in("No.") is None and program_in("", ["f"]) is None


def test_future_imports_stay_first() -> None:
    first, second = "import os\nX = 1\n", "from __future__ import annotations\ndef f(x: int) -> int:\n    return X\n"
    program = program_in(fenced(first) + fenced(second), ["f"])
    assert program is not None
    names: dict[str, object] = {}
    exec(compile(program, "p", "exec"), names)
    assert "f" in names


PROMPT = "import math\n\ndef f(x: float) -> int:\n    '''Rounds down.'''\n"


@pytest.mark.parametrize(
    "program",
    [
        "    return math.floor(x)\n",
        "return math.floor(x)\n",
        "if x:\n    return math.floor(x)\nreturn 0\n",
        "def f(x):\n    return math.floor(x)\n",
        "f = lambda x: math.floor(x)\n",
        "from __future__ import annotations\ndef f(x: float) -> int:\n    return math.floor(x)\n",
    ],
)
@pytest.mark.parametrize("prompt", [PROMPT, f"Complete this:\n{fenced(PROMPT)}", f"Complete this function.\n{PROMPT}"])
def test_what_the_prompt_has_of_it(program: str, prompt: str) -> None:
    names: dict[str, object] = {}
    exec(compile(completed(program, "f", prompt), "p", "exec"), names)
    assert names["f"](2.5) == 2  # type: ignore[operator]


def test_what_a_prompt_gives() -> None:
    assert code_given("Write a function f.", "f") == ("", "")
    assert code_given("from typing import List\nclass Node: pass\n", "f")[0].startswith("from typing")


def test_what_tests_mean_by_a_name() -> None:
    prompt = "import re\ndef poly(x):\n    return x + 1\ndef stub(x):\n    pass\nclass Node: pass\n"
    names: dict[str, object] = {}
    exec(
        own_names("poly(math.pi, Counter(), len)", prompt, "from collections import Counter\ndef f(): pass", {}), names
    )
    assert {"poly", "math", "Counter", "re"} <= names.keys() and not {"stub", "Node", "f"} & names.keys()
    assert own_names("statistics([1])", "", "", {}) == "" and own_names("operator.run()", "", "", {}) == ""
    assert own_names("f(1)", prompt, "import math", {}) == ""
    exec(own_names("absent", "", "import absent", {"lost": "nowhere"}), names)
