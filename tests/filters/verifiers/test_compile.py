"""`compile`, with the compilers that this machine has."""

import shutil
import time

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Task, VerifierError, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))

PROGRAMS = {
    "python": ("python", "print(1)", "print(", "never closed"),
    "c": ("gcc", "#include <stdio.h>\nint main(void) { puts(\"x\"); }", "int main(void) { return x; }", "undeclared"),
    "cpp": ("g++", "#include <vector>\nint main() { std::vector<int> v; }", "int main() { vector<int> v; }", "not declared"),
    "js": ("node", "let x = 1;", "let x = ;", "SyntaxError"),
    "go": ("go", "package main\nfunc main() {}", "package main\nfunc main() { x }", "undefined"),
    "rust": ("rustc", 'fn main() { println!("x"); }', 'fn main() { let x: i32 = "a"; }', "mismatched types"),
    "java": ("javac", "class A { int x = 1; }", 'class A { int x = "a"; }', "incompatible types"),
}  # fmt: skip


@pytest.mark.parametrize("language", PROGRAMS)
def test_each_language(language: str) -> None:
    tool, good, bad, reason = PROGRAMS[language]
    if language != "python" and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    check = checker(VerifierSettings("compile", time_limit=60))
    assert check(f"So:\n```{language}\n{good}\n```", Task()).kind == "right"
    verdict = check(f"```{language}\n{bad}\n```", Task())
    assert verdict.kind == "wrong" and reason in (verdict.reason or ""), verdict
    named = checker(VerifierSettings("compile", language=language, time_limit=60))
    assert named(good, Task()).kind == "right"
    assert named(f"```\n{bad}\n```", Task()).kind == "wrong"


def test_compiling_does_not_run_or_read_anything_it_should_not() -> None:
    check = checker(VerifierSettings("compile", time_limit=3))
    began = time.monotonic()
    assert check("```python\nwhile True: pass\n```", Task()).kind == "right"
    assert check('```c\n#include "/etc/passwd"\n```', Task()).kind == "wrong"
    assert check('```c\n#include "/dev/zero"\n```', Task()).kind == "wrong"
    assert check("```python\n" + "(" * 10**5 + "\n```", Task()).kind == "wrong"
    bomb = "template<int N, int M> struct B { static const int v = B<N-1, M>::v + B<N-1, M+1>::v; };\n"
    bomb += "template<int M> struct B<0, M> { static const int v = 1; };\nint x = B<800, 0>::v;"
    assert check(f"```cpp\n{bomb}\n```", Task()).kind == "wrong"
    assert time.monotonic() - began < 120  # of a bomb that ran, or an endless file: for ever


def test_what_cannot_be_compiled_here() -> None:
    check = checker(VerifierSettings("compile"))
    assert check("```brainf\n+\n```", Task()).kind == "unscorable"
    assert check("int x;", Task()).kind == "unscorable"
    shell = "\r\nRun:\r\n```bash\r\npython main.py\r\n```\r\n```\r\n5\r\n```\r\n"
    assert check(f"1. So:\r\n   ```python\r\n   x = 5\r\n   ```{shell}", Task()).kind == "right"
    assert check("", Task()).kind == "wrong"
    with pytest.raises(VerifierError, match="known are python, c"):
        checker(VerifierSettings("compile", language="brainf"))
