"""`code` finds the program in every form in which models write one: HumanEval's solutions, in each of them, pass.

`SYNTH_TEST_ALL=1` tries all 164 in each form; otherwise every sixteenth.
"""

import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))

Row = dict[str, Any]


def fenced(code: str, tag: str = "python", fence: str = "```") -> str:
    return f"{fence}{tag}\n{code}\n{fence}\n"


def whole(row: Row) -> str:
    return str(row["prompt"] + row["canonical_solution"])


def before(row: Row) -> str:
    return str(row["prompt"][: row["prompt"].rindex(f"def {row['entry_point']}")])


def function(row: Row) -> str:
    return whole(row)[len(before(row)) :]


def then(row: Row, code: str, tag: str = "python") -> str:
    """The solution, and a block after it."""
    return f"Here:\n\n{fenced(whole(row))}\nAnd:\n\n{fenced(code.replace('NAME', row['entry_point']), tag)}\nDone."


FORMS: dict[str, Callable[[Row], str]] = {
    "a block": lambda row: f"Sure:\n\n{fenced(whole(row))}\nDone.",
    "a list": lambda row: f"1. Write it:\n\n{textwrap.indent(fenced(whole(row)), '   ')}\n2. Done.",
    "a list with tabs": lambda row: f"* Write it:\n{textwrap.indent(fenced(whole(row)), chr(9))}\n",
    "an item of a list": lambda row: f"- {textwrap.indent(fenced(whole(row)), '  ').lstrip()}\n- Done.",
    "a quotation": lambda row: textwrap.indent(f"Here:\n{fenced(whole(row))}", "> ", lambda line: True),
    "CRLF": lambda row: f"Sure:\n\n{fenced(whole(row))}\nDone.".replace("\n", "\r\n"),
    "tildes": lambda row: f"Sure:\n\n{fenced(whole(row), fence='~~~')}\nDone.",
    "four backticks": lambda row: f"Sure:\n\n{fenced(whole(row), fence='````')}\nDone.",
    "never closed": lambda row: f"Sure:\n```python\n{whole(row)}",
    "closed on the last line": lambda row: f"```python\n{whole(row).rstrip()}```\nDone.",
    "closed on the last line, a block after": lambda row: (
        f"```python\n{whole(row).rstrip()}```\nRun it:\n{fenced('python a.py', 'bash')}"
    ),
    "closed before a sentence": lambda row: (
        f"```python\n{whole(row)}\n``` This works for all.\nRun it:\n{fenced('ls', 'sh')}"
    ),
    "hard blanks": lambda row: fenced(whole(row).replace("    ", "\N{NO-BREAK SPACE}" * 4)),
    "an exit": lambda row: fenced(f"{whole(row)}\nimport sys\nif len(sys.argv) < 5:\n    sys.exit('usage: a.py N')"),
    "unittest": lambda row: fenced(f"{whole(row)}\nimport unittest\nunittest.main()"),
    "JSON": lambda row: json.dumps({"thought": "Easy.", "code": whole(row)}),
    "JSON in a block": lambda row: f"Here:\n{fenced(json.dumps({'solution': whole(row)}, indent=1), 'json')}",
    "JSON with a block in it": lambda row: json.dumps({"answer": fenced(whole(row))}),
    "in Markdown": lambda row: fenced(f"# Title\n\n{fenced(whole(row))}", "markdown", "````"),
    "no tag": lambda row: fenced(whole(row), ""),
    "a wrong tag": lambda row: fenced(whole(row), "javascript"),
    "a tag with more": lambda row: fenced(whole(row), 'Python3 title="a.py"'),
    "usage after": lambda row: then(row, "result = NAME(1)\nprint(result)"),
    "usage in a function after": lambda row: then(row, "def main():\n    print(NAME(1))\n\nmain()"),
    "unittest after": lambda row: then(
        row,
        "import unittest\nfrom solution import NAME\nclass Test(unittest.TestCase):\n    def test_a(self):\n"
        "        self.assertEqual(NAME(1), 2)\nunittest.main()",
    ),
    "pytest after": lambda row: then(row, "def test_it():\n    assert NAME(1) == 2\n\ntest_it()"),
    "a stub after": lambda row: then(row, f"{row['prompt']}    ..."),
    "a session after": lambda row: then(row, ">>> NAME(1)\n2"),
    "output after": lambda row: then(row, "[1, 2]", ""),
    "shell before and after": lambda row: fenced("pip install numpy", "bash") + then(row, "python solution.py", "sh"),
    "a draft before": lambda row: f"{fenced(row['prompt'] + '    return None')}\nBetter:\n{fenced(whole(row))}",
    "a class before": lambda row: fenced("class Helper:\n    pass") + fenced(whole(row)),
    "imports and helpers apart": lambda row: fenced(before(row) or "import math") + fenced(function(row)),
    "helpers after": lambda row: fenced(function(row)) + fenced(before(row) or "import math"),
    "the function alone": lambda row: fenced(function(row)),
    "the body": lambda row: f"The body:\n{fenced(row['canonical_solution'])}",
    "the body without its indentation": lambda row: fenced(textwrap.dedent(row["canonical_solution"])),
    "from __future__": lambda row: fenced(f"from __future__ import annotations\n{whole(row)}"),
    "no fence": lambda row: f"Here is the function you asked for.\n\n{whole(row)}\nThis works because it is correct.",
    "no fence, indented": lambda row: f"Here:\n\n{textwrap.indent(whole(row).strip(), '    ')}\n\nIt works: try it.",
    "no fence, single words": lambda row: f"Solution\n\n{whole(row)}\nDone",
    "after thinking": lambda row: (
        f"<think>\nMaybe:\n{fenced(whole(row).replace('return', 'return 1 or'))}</think>\n{fenced(whole(row))}"
    ),
}


@pytest.fixture(scope="module")
def solutions(data: Path) -> list[Row]:
    found = [json.loads(line) for line in (data / "humaneval" / "HumanEval.jsonl").read_text().splitlines()]
    return found if os.environ.get("SYNTH_TEST_ALL") else found[::16]


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code"))


@pytest.mark.parametrize("form", FORMS)
def test_a_solution_in_each_form_is_right(check: Check, solutions: list[Row], form: str) -> None:
    failed = []
    for row in solutions:
        verdict = check(FORMS[form](row), Task(None, row["prompt"], row))
        if verdict.kind != "right":
            failed.append((row["task_id"], verdict.reason))
    assert failed == []
