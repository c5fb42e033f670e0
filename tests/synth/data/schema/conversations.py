"""Conversations with thoughts and calls, written to files and read again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synth.data.read import Rows, faults_of
from synth.data.row import Message, conversations_of

ASKED = {"role": "user", "content": "2+2?"}

SAID: Message = {"role": "assistant", "content": "4"}

THOUGHT: Message = SAID | {"reasoning_content": "A sum."}

CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}

CALLED: Message = {"role": "assistant", "content": "", "tool_calls": [CALL]}

GAVE: Message = {"role": "tool", "content": "4"}

Write = Callable[..., str]


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(rows: Rows) -> tuple[list[Any], list[str | None]]:
    """The conversations, and why they cannot be read."""
    messages: list[Any] = []
    faults: list[str | None] = []
    for batch in rows.judged():
        batch.validate(full=True)
        assert batch["messages"].type == rows.schema.field("messages").type
        messages += conversations_of(batch["messages"])
        faults += faults_of(batch)
    return messages, faults
