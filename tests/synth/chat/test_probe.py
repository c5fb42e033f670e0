"""Chat templates of strangers: what never ends, or takes all the memory, is refused in bounded time and memory."""

import copy
import resource
import time
from typing import Any

import pytest

from synth.chat import probe as template_probe
from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.errors import UsageError

LOOP = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{{ 10 ** (10 ** 9) }}",
    "{{ 'a' * 10 ** 11 }}",
    "{{ ([0] * 10 ** 10) | length }}",
    "{% set ns = namespace(t='ab') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
    "{{ 'x'.center(10 ** 11) }}",
    "{{ '%99999999999d' % 1 }}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{{ 1 // 0 }}",
    "{% if",
]
HUGE = ENDLESS[3:8]


def with_template(chat: ChatFormat, text: str) -> Any:
    tokenizer = copy.copy(chat.tokenizer)
    tokenizer.chat_template = text
    return tokenizer


@pytest.mark.parametrize(
    ("fault", "late"), [*((fault, False) for fault in ENDLESS), (ENDLESS[0], True), (ENDLESS[3], True)]
)
def test_refused_in_bounded_time_and_memory(
    chat: ChatFormat, monkeypatch: pytest.MonkeyPatch, fault: str, late: bool
) -> None:
    """At once, or only in a conversation of more than two turns."""
    monkeypatch.setattr(template_probe, "SECONDS", 1)
    text = LOOP + ("{% if messages | length > 2 %}" + fault + "{% endif %}" if late else fault)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        chat_format(with_template(chat, text))
    except UsageError as error:
        assert "chat template" in str(error) and len(str(error).splitlines()) == 1
        assert late or fault not in HUGE or "MiB" in str(error) or "does not end" in str(error)
    else:
        assert late  # a template that refuses further turns takes one turn only
    assert time.monotonic() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_a_sound_template_is_as_before(chat: ChatFormat) -> None:
    assert chat_format(with_template(chat, LOOP)).turns.between == "<|im_end|>\n<|im_start|>assistant\n"
