"""Prompts are plain text files with the placeholders {question}, {reference} and {answer}; users may give their own."""

import re
from importlib import resources

from synth.data.store.path import path_at
from synth.errors import UsageError
from synth.small_text import read_small

_PLACE = re.compile(r"\{(\w+)\}")


def prompt_names(method: str) -> list[str]:
    """The styles that ship for a method: files `METHOD.txt` and `METHOD-STYLE.txt`, the plain one first."""
    files = resources.files("synth.methods") / "prompts"
    names = sorted(file.name.removesuffix(".txt") for file in files.iterdir())
    return [name for name in names if name == method or name.startswith(f"{method}-")]


def load_prompt(name: str, needs: set[str], allowed: set[str]) -> str:
    """The text of a shipped prompt, or of a file.

    Args:
        name: of a file in `synth/methods/prompts` without `.txt`, or a path.
        needs: places that must be in it.
        allowed: places that may be.

    Raises:
        UsageError: there is no such prompt, or its places are not those.
    """
    shipped = resources.files("synth.methods") / "prompts" / f"{name}.txt"
    try:
        text = shipped.read_text("utf-8") if shipped.is_file() else read_small(path_at(name))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"prompt {name} is none of ours, and cannot be read as a file: {error}") from error
    places = set(_PLACE.findall(text))
    if missing := needs - places:
        raise UsageError(f"prompt {name} has no {{{'}, {'.join(sorted(missing))}}}")
    if unknown := places - allowed:
        raise UsageError(
            f"prompt {name} has {{{'}, {'.join(sorted(unknown))}}}; known are {{{'}, {'.join(sorted(allowed))}}}"
        )
    return text.strip()


def fill(prompt: str, **texts: str) -> str:
    """The prompt with its placeholders filled in one pass: braces in the texts stay as they are."""
    return _PLACE.sub(lambda place: texts.get(place[1], place[0]), prompt)
