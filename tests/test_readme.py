"""What the README and the guide show must be so: their Python runs, commands and options exist, files are there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.main import cli

ROOT = Path(__file__).parent.parent
README, GUIDE = ROOT / "README.md", ROOT / "samples" / "guide.md"
DOCS = (README, GUIDE)


def blocks(language: str) -> list[str]:
    text = "\n".join(file.read_text(encoding="utf-8") for file in DOCS)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _joined(block: str) -> list[str]:
    """The lines of a block, those that end in a backslash together with the next."""
    return block.replace("\\\n", " ").splitlines()


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in _joined(block)]
    lines += [line[2:] for block in blocks("console") for line in _joined(block) if line.startswith("$ ")]
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


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str) -> None:
    """And prints what the comments at its end say, where there are any."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if said := re.findall(r"^# (.*)\n", code, re.MULTILINE):
        assert done.stdout.splitlines() == said
    elif "logprob" in code:
        assert re.search(r"-\d+\.\d+$", done.stdout.strip()), done.stdout


@pytest.mark.parametrize("file", DOCS, ids=lambda file: file.name)
def test_links(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (file.parent / target).exists(), target
    assert "_OUTPUT" not in text and "MEASURED" not in text


def test_length() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 300
