"""What the libraries below have to say of each other is kept from people: bars, warnings, lines of their logs.

On the command line it is kept out altogether (`cli.main`). Here it is kept out of the process of somebody else while a
model is read, trained or saved, and no longer: their own warnings, and what those libraries tell them otherwise, stay.
"""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LIBRARIES = (
    *("transformers", "peft", "accelerate", "torch", "huggingface_hub", "datasets", "tokenizers", "safetensors"),
    *("torchao", "trl"),
)
_WARNS = rf"({'|'.join(_LIBRARIES)}|synth)(\.|$)"
"""Where their warnings come from; some point at whoever called them, and of ours none is a warning."""


def debugging() -> bool:
    """Whether all that libraries and engines say is wanted on the terminal: `--debug`."""
    return os.environ.get("SYNTH_DEBUG") == "1"


class _Quiet:
    """Several threads may ask for it: the first brings it, the last takes it away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._kept = ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._asked += 1
            if self._asked == 1:
                self._kept = _kept_quiet()

    def end(self) -> None:
        with self._lock:
            self._asked -= 1
            if not self._asked:
                self._kept.close()


_quiet = _Quiet()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Let the libraries of models say nothing until this ends, except for errors; SYNTH_DEBUG=1 lets it through."""
    if debugging():
        yield
        return
    _quiet.begin()
    try:
        yield
    finally:
        _quiet.end()


def _kept_quiet() -> ExitStack:
    from transformers.utils import logging as told

    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module=_WARNS)
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(max(logger.level, logging.ERROR))
    if told.is_progress_bar_enabled():
        stack.callback(told.enable_progress_bar)
        told.disable_progress_bar()
    return stack
