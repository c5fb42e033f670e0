"""A chat template is a stranger's program: whether it ends, and in bounded memory, is seen in a process that may die.

jinja's sandbox keeps a template from everything outside it, but not from looping for ever or from making a text of ten
gigabytes; neither can be stopped from within Python. So before a template is first used it writes a few conversations
in a child process whose processor time and memory the kernel bounds.
"""

import os
import resource
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from synth.data.row import Message
from synth.errors import RequestError

SECONDS = 2
"""Of processor time, for all conversations together; templates in use take hundredths of one."""
MEMORY = 2**28
"""Bytes beyond what this process holds."""
WAIT = 15.0
"""Seconds after which it is ended, however busy the machine. A child that did not work then, but waited for something,
which no template does, says nothing of the template."""

_TOO_MUCH = 3
"""Exit status of a child whose template asked for more memory."""


def conversations() -> list[list[Message]]:
    """What a template is tried with: every shape it may be asked for, one long."""
    question, answer = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
    system = {"role": "system", "content": "Be brief."}
    long = [turn | {"content": "word " * 400} for turn in (question, answer)] * 8
    return [[question], [question, answer], [question, answer, question], [system, question, answer], long]


def refuse_endless(render: Callable[[Sequence[Message], bool], object]) -> None:
    """Let a template write conversations in a child process, and see that it ends.

    Args:
        render: writes a conversation, or raises what it will; with the header for an answer to come or without.

    Raises:
        RequestError: it does not end, or takes too much memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child runs jinja, and takes no lock
        child = os.fork()
    if child == 0:
        _try(render)
    deadline = time.monotonic() + WAIT
    ended, status, used = os.wait4(child, os.WNOHANG)
    while not ended:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended, status, used = os.wait4(child, 0)
            break
        time.sleep(0.002)
        ended, status, used = os.wait4(child, os.WNOHANG)
    if os.WIFSIGNALED(status) and used.ru_utime + used.ru_stime > SECONDS / 10:
        raise RequestError(f"the chat template does not end, or takes more than {SECONDS} seconds to write a few words")
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _TOO_MUCH:
        raise RequestError(f"the chat template takes more than {MEMORY // 2**20:,} MiB for a short conversation")


def _try(render: Callable[[Sequence[Message], bool], object]) -> None:
    """In the child: all conversations, within bounds; never returns."""
    status = 0
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        with suppress(OSError, ValueError):  # where there is no such file, memory is not bounded
            held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        for messages in conversations():
            for generation in (False, True):
                try:
                    render(messages, generation)
                except Exception as error:  # a refusal is met again outside, and said
                    if MemoryError in (type(error), type(error.__cause__)):
                        status = _TOO_MUCH
    finally:
        os._exit(status)
