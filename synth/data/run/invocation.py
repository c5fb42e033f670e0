"""The command line of this run for the record and the card: it can be run again, and holds no secrets."""

import re
import shlex
from collections.abc import Sequence
from contextvars import ContextVar

SECRET = ("--api-key",)
"""Options whose values are hidden."""

HIDDEN = "…"
_TOKENS = re.compile(r"\b(hf_|sk-|ghp_)[A-Za-z0-9_-]{8,}")
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
_KEY = re.compile(r"(?i)([?&](?:[\w-]*[_-])?(?:key|keyid|token|secret|password|sig|signature|credential)=)[^&\s]+")

_arguments: ContextVar[tuple[str, ...] | None] = ContextVar("arguments", default=None)


def remember(arguments: Sequence[str]) -> None:
    """Remember the arguments of this process, without `synth` itself."""
    _arguments.set(tuple(arguments))


def command_line() -> str | None:
    """The remembered command line, quoted for a shell; None where no command was called.

    What an option of `SECRET` was given, passwords and keys in addresses, and what looks like an access token are
    replaced.
    """
    arguments = _arguments.get()
    if arguments is None:
        return None
    words: list[str] = []
    hides = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hides:
            argument = HIDDEN
        elif equals and name in SECRET:
            argument = f"{name}={HIDDEN}"
        hides = not hides and argument in SECRET
        words.append(_clean(argument))
    return shlex.join(["synth", *words])


def _clean(word: str) -> str:
    word = word.encode("utf-8", "replace").decode()
    word = _TOKENS.sub(rf"\1{HIDDEN}", word)
    return _KEY.sub(rf"\1{HIDDEN}", _PASSWORD.sub(f"{HIDDEN}@", word))
