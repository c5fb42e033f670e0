"""Errors that a person can act on. Each message says what is wrong, where, and how to mend it.

SynthError
 ├─ UsageError    wrong settings or input; found before any work is done (exit status 2)
 ├─ RunError      the run cannot go on; what was finished is kept (exit status 1)
 └─ RequestError  one request to a model failed; the row is rejected with this reason, the run goes on
"""


class SynthError(Exception):
    """Base of every error that `synth` raises on purpose."""


class UsageError(SynthError, ValueError):
    """Wrong settings or wrong input: nothing was started."""


class RunError(SynthError, RuntimeError):
    """The run cannot go on (engine died, disk full); finished rows are kept."""


class RequestError(SynthError):
    """One request failed: over-long prompt, refused or failed call. Its message becomes the row's reason."""
