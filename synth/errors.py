"""Errors that the user can act on. Each message says what is wrong, where, and how to fix it.

SynthError
 ├─ UsageError    wrong settings or input; found before any work is done (exit status 2)
 │   └─ BusyError  another run is writing to the same place
 ├─ RunError      the run cannot go on; what was finished is kept (exit status 1)
 ├─ Stopped       a person, or a budget, stopped the run; what was finished is kept (exit status 1)
 └─ RequestError  one request to a model failed; the row is rejected with this reason, the run goes on

A message names a setting in backquotes, as Python knows it: `max_tokens`. The command line writes it as the option that
sets it: --max-tokens.
"""

import re
from collections.abc import Mapping

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)`")


class SynthError(Exception):
    """Base of every error that `synth` raises on purpose."""

    @property
    def field(self) -> str | None:
        """The setting that the message names first, if it names any."""
        found = _SETTING.search(str(self))
        return found[1] if found else None


class UsageError(SynthError, ValueError):
    """Wrong settings or wrong input: nothing was started."""


class BusyError(UsageError):
    """Another run is writing to the same place; it may be done soon."""


class RunError(SynthError, RuntimeError):
    """The run cannot go on (engine died, disk full); finished rows are kept."""


class Stopped(SynthError):
    """A person, or a budget, stopped the run; finished rows are kept, and the same call goes on with them."""


class RequestError(SynthError):
    """One request failed: over-long prompt, refused or failed call. Its message becomes the row's reason."""


def with_options(message: str, options: Mapping[str, str]) -> str:
    """A message whose settings are named by options.

    Args:
        message: of an error, or a line of progress.
        options: how the settings of one command are written, such as `{"max_tokens": "--max-tokens"}`.
    """
    return _SETTING.sub(lambda name: options.get(name[1], name[0]), message)


def no_preview(why: str) -> UsageError:
    """The error that a run has no preview: an option of a command, and in Python `FirstRows` as its output."""
    return UsageError(f"`preview` (in Python, FirstRows): {why}")
