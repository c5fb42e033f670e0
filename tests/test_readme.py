"""What the README and the guide show must be so: their Python runs, commands and options exist, files are there."""

import ast
import functools
import inspect
import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import synth
from cli.main import cli
from tests.cli.running import code as python
from tests.cli.running import forked

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDE, SCALE, RL = (ROOT / "samples" / f"{name}.md" for name in ("guide", "scale", "rl"))
DOCS = (README, GUIDE, SCALE)


def blocks(language: str, files: Sequence[Path] = DOCS) -> list[str]:
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _joined(block: str) -> list[str]:
    """The lines of a block, those that end in a backslash together with the next."""
    return block.replace("\\\n", " ").splitlines()


def commands() -> list[str]:
    lines = [line for block in blocks("sh", (*DOCS, RL)) for line in _joined(block)]
    lines += [line[2:] for block in blocks("console", (*DOCS, RL)) for line in _joined(block) if line.startswith("$ ")]
    found = [line.partition(" #")[0].partition(" | ")[0].strip() for line in lines]
    return [line for line in found if line.startswith("synth ")]


@pytest.mark.parametrize("line", commands())
def test_commands_and_options_exist(line: str) -> None:
    _, name, *rest = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, line
    options = {option for parameter in command.params for option in parameter.opts}
    for word in rest:
        if word.startswith("-") and len(word) > 1:
            assert word in options, f"{word} in: {line}"


@pytest.mark.parametrize("code", blocks("py", (*DOCS, RL)))
def test_functions_and_arguments_exist(code: str) -> None:
    """Of Python that needs a large model, marked as `py`: what it calls is there, and takes what it is given."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    ours = [node for node in calls if re.fullmatch(r"synth(\.\w+)+", ast.unparse(node.func))]
    assert ours, code
    for node in ours:
        called: object = functools.reduce(getattr, ast.unparse(node.func).split(".")[1:], synth)
        assert callable(called)
        inspect.signature(called).bind(*node.args, **{str(word.arg): word.value for word in node.keywords})


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str) -> None:
    """And prints what the comments at its end say, where there are any."""
    done = forked(code, program=python, folder=ROOT)
    assert done.returncode == 0, done.stderr
    if said := re.findall(r"^# (.*)\n", code, re.MULTILINE):
        assert done.stdout.splitlines() == said
    elif "logprob" in code:
        assert re.search(r"-\d+\.\d+$", done.stdout.strip()), done.stdout


@pytest.mark.parametrize("file", (*DOCS, RL), ids=lambda file: file.name)
def test_links(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (file.parent / target).exists(), target
    assert "_OUTPUT" not in text and "MEASURED" not in text


def test_length() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 300


def table_of_releases() -> dict[str, list[str]]:
    """By library: its oldest release, the one beside vLLM and the newest, as the table says."""
    found: dict[str, list[str]] = {}
    for line in README.read_text(encoding="utf-8").partition("| | oldest |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        names, *cells = (cell.strip().split(", ") for cell in line.strip("|").split("|"))
        found |= {name: [cell[place] for cell in cells] for place, name in enumerate(names)}
    return found


def ranges() -> dict[str, SpecifierSet]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["adapters"], *extras["trl"], *extras["vllm"]]
    return {needed.name: needed.specifier for needed in map(Requirement, lines)}


def test_the_table_of_releases_is_that_of_the_ranges() -> None:
    stated, allowed = table_of_releases(), ranges()
    assert {"transformers", "accelerate", "peft", "datasets", "pyarrow"} <= stated.keys()
    for name, releases in stated.items():
        numbers = [Version(cell.split()[0]) for cell in releases if cell != "–"]
        [floor] = [Version(one.version) for one in allowed[name.lower()] if one.operator == ">="]
        assert numbers[0] == floor, f"{name}: {floor} in pyproject.toml"
        assert numbers == sorted(numbers) and all(number in allowed[name.lower()] for number in numbers), name
