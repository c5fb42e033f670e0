"""An answer that calls tools, as the text that verifiers get of a turn with `tool_calls`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_BEGIN = '{"tool_calls": ['


def with_calls(content: str, calls: Sequence[Mapping[str, Any]]) -> str:
    """The content of a turn, or, where it calls tools, the JSON text of its calls and its content."""
    return json.dumps({"tool_calls": list(calls), "content": content}, ensure_ascii=False) if calls else content


def as_message(response: str) -> dict[str, Any]:
    """The assistant's message whose text, as verifiers are given it, `response` is."""
    turn = only_calls(response)
    return {"role": "assistant", "content": response} if turn is None else {"role": "assistant", **turn}


def only_calls(response: str) -> dict[str, Any] | None:
    """The calls in a text that `with_calls` made; None for other texts."""
    if not response.startswith(_BEGIN):
        return None
    try:
        value = json.loads(response)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.keys() == {"tool_calls", "content"} else None
