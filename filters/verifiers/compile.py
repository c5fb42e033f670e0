"""`compile`: the program in the response compiles; nothing of it is run.

Compilers are the real ones of this machine, in the sandbox: a program under compilation can read files, and eat time
and memory. The language is that of the answer's last fenced block, or `settings.language`.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from filters.execution import sandbox
from filters.response.code_blocks import fenced_blocks
from filters.response.extract import conclusion
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierError, VerifierSettings


@dataclass(frozen=True, slots=True)
class Compiler:
    """How a language is compiled: the file's name, the command, and what of the host the command needs to see."""

    file: str
    command: tuple[str, ...]
    visible: tuple[str, ...] = ()


COMPILERS = {
    "python": Compiler(
        "main.py", ("python", "-I", "-S", "-c", "compile(open('main.py', encoding='utf-8').read(), 'main.py', 'exec')")
    ),
    "c": Compiler("main.c", ("gcc", "-fsyntax-only", "main.c")),
    "c++": Compiler("main.cpp", ("g++", "-fsyntax-only", "main.cpp")),
    "javascript": Compiler("main.js", ("node", "--check", "main.js")),
    "go": Compiler("main.go", ("go", "build", "-o", "out", "main.go")),
    "rust": Compiler(
        "main.rs", ("rustc", "--emit=metadata", "--crate-type=lib", "--edition=2021", "-o", "out", "main.rs")
    ),
    "java": Compiler("Main.java", ("javac", "-proc:none", "-d", "out", "Main.java")),
}

_ALIASES = {
    "py": "python",
    "python3": "python",
    "cpp": "c++",
    "cxx": "c++",
    "cc": "c++",
    "js": "javascript",
    "node": "javascript",
    "golang": "go",
    "rs": "rust",
}


def checker(settings: VerifierSettings) -> Check:
    """The check.

    Raises:
        VerifierError: `settings.language` is unknown or has no compiler here, or programs cannot be isolated.
    """
    sandbox.check_isolation(settings)
    if settings.language is not None:
        language = _language(settings.language)
        if language is None:
            raise VerifierError(f"`language` {settings.language} is unknown; known are {', '.join(COMPILERS)}")
        if shutil.which(_executable(language)) is None:
            raise VerifierError(f"`language` {language} needs {_executable(language)}, which is not installed")

    def check(response: str, task: Task) -> Verdict:
        named, program = _program(response, settings.language)
        if not program.strip():
            return Verdict(WRONG, None, "no program found")
        language = _language(named)
        if language is None:
            return Verdict(
                UNSCORABLE, program, f"language {named[:40]!r} is unknown" if named else "no language is named"
            )
        if shutil.which(_executable(language)) is None:
            return Verdict(UNSCORABLE, program, f"no {_executable(language)} here to compile {language}")
        return _compiled(language, program, settings)

    return check


def _language(name: str) -> str | None:
    name = name.casefold()
    name = _ALIASES.get(name, name)
    return name if name in COMPILERS else None


def _executable(language: str) -> str:
    return sandbox.PYTHON if language == "python" else COMPILERS[language].command[0]


def _program(response: str, language: str | None) -> tuple[str, str]:
    """The language named, and the program: the last fenced block of that language, or of one that is known."""
    blocks = fenced_blocks(conclusion(response))
    if language is not None:
        wanted = _language(language)
        same = [code for name, code in blocks if _language(name) == wanted or not name]
        return language, same[-1] if same else "" if blocks else response
    known = [block for block in blocks if _language(block[0])]
    return (known or blocks or [("", response)])[-1]


def _compiled(language: str, program: str, settings: VerifierSettings) -> Verdict:
    compiler = COMPILERS[language]
    executable = os.path.realpath(shutil.which(_executable(language)) or "")
    command = [executable, *compiler.command[1:]]
    visible = [_installation(executable)]
    if language == "python":
        visible += [sys.base_prefix]
    elif language == "rust":
        command[0], root = _rust(executable)
        visible = [root]
    elif language == "java":
        visible += map(str, Path("/etc").glob("java-*"))  # Debian's links from the installation lead there
    ran = sandbox.run(command, {compiler.file: program}, settings, visible)
    if ran.status is None:
        return Verdict(WRONG, program, f"compiling took longer than {settings.time_limit:g} s")
    if ran.status == 0:
        return Verdict(RIGHT, program)
    return Verdict(WRONG, program, _first_error(ran.output) or f"the compiler ended with status {ran.status}")


def _installation(executable: str) -> str:
    """The directory above `bin`, which holds what the compiler needs."""
    return str(Path(executable).parent.parent)


def _rust(executable: str) -> tuple[str, str]:
    """Rustup's `rustc` finds the real one; in the sandbox only that is there."""
    import subprocess

    asked = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=False)
    root = asked.stdout.strip() or _installation(executable)
    return f"{root}/bin/rustc", root


def _first_error(output: str) -> str | None:
    """The compiler's first line that speaks of an error, or its last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line[:300] for line in lines if "error" in line.lower()), lines[-1][:300] if lines else None)
