"""The parts of a turn beside its content, as other people write them: thoughts, calls of tools, what tools gave.

    thoughts    a field of `THOUGHTS`; parts of the content of the type thinking or reasoning; or text between markers
                at the start of an answer (`filters.response.thoughts` has the forms)
    calls       `tool_calls` as OpenAI has them, their arguments as JSON text or as an object; `function_call`; a turn
                of a role of `CALL_ROLES` whose content is the call's JSON; parts of the type tool_use
    channels    gpt-oss's messages (harmony): analysis, commentary and final become one turn
    tools       a list of functions, with or without {"type": "function"} around each, or its JSON text; parameters
                also without the {"type": "object", "properties": …} around them (xLAM)

Text such as `<tool_call>{…}</tool_call>` within a content stays text: which template it is of cannot be told.
"""

import json
from collections.abc import Mapping
from typing import Any

THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
"""What a turn calls its thoughts: DeepSeek and Qwen, vLLM and OpenRouter, Ollama and gpt-oss, others."""

CALLS = ("tool_calls", "function_call")
"""What a turn calls its calls of tools."""

CALL_ROLES = frozenset({"function_call", "tool_call"})
"""Roles of turns that are nothing but calls, as JSON (LLaMA-Factory, ms-swift)."""

ANSWERED = ("tool_call_id", "tool_use_id", "call_id")
"""What the result of a tool calls the call it answers."""

CHANNEL = "channel"
CHANNELS = ("analysis", "commentary", "final")
"""What gpt-oss's messages call theirs, and which there are."""

_OF_CHANNELS = (CHANNEL, "recipient", "content_type")

_READ_CALLS = frozenset({"id", "call_id", "type", "function", "name", "arguments", "parameters", "input", "index"})


class Unreadable(Exception):
    """A conversation cannot be read. The message is the reason its row is rejected with: `kind: particulars`."""


def thoughts_in(turn: Mapping[str, Any], where: str) -> str | None:
    """The thoughts that stand in fields of a turn.

    Raises:
        Unreadable: they are no text, or two fields say different things.
    """
    found: dict[str, str] = {}
    for name in THOUGHTS:
        value = turn.get(name)
        if is_nothing(value) or value is False:
            continue
        parts = value if isinstance(value, list) else [value]
        texts: list[Any] = [
            part.get("text") or part.get("thinking") if isinstance(part, dict) else part for part in parts
        ]
        if not all(isinstance(text, str) for text in texts):
            raise Unreadable(f"thoughts: {name!r} of {where} is no text")
        if (text := "\n".join(texts).strip()) and text not in found.values():
            found[name] = text
    if len(found) > 1:
        raise Unreadable(f"thoughts: {' and '.join(map(repr, found))} of {where} say different things")
    return next(iter(found.values()), None)


def calls_in(turn: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The calls that stand in fields of a turn, as a message has them.

    Raises:
        Unreadable: one is none of a function, or its arguments are no JSON object.
    """
    found: list[dict[str, Any]] = []
    for name in CALLS:
        value = turn.get(name)
        if is_nothing(value):
            continue
        if isinstance(value, str):
            value = parsed(value, f"tool call: {name!r} of {where}")
        found += [call_of(call, where) for call in (value if isinstance(value, list) else [value])]
    return found


def calls_of_content(content: Any, where: str) -> list[dict[str, Any]]:
    """The calls of a turn that is nothing else: its content is one call, or a list of them, perhaps as JSON text.

    Raises:
        Unreadable: it is neither.
    """
    value = parsed(content, f"tool call: {where}") if isinstance(content, str) else content
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise Unreadable(f"tool call: {where} has none")
    return [call_of(call, where) for call in calls]


def call_of(call: Any, where: str) -> dict[str, Any]:
    """One call as a message has it: `type`, `function` with `name` and `arguments` as JSON text, perhaps `id`.

    Raises:
        Unreadable: it is none of a function, or its arguments are no JSON object.
    """
    if isinstance(call, str):
        call = parsed(call, f"tool call: {where}")
    inner = call.get("function") or call if isinstance(call, dict) else None
    if not isinstance(inner, dict):
        raise Unreadable(f"tool call: {where} has one that is no object")
    name, kind = inner.get("name"), call.get("type") or "function"
    if not isinstance(name, str) or not name.strip():
        raise Unreadable(f"tool call: {where} calls a tool without a name")
    if kind not in ("function", "function_call", "tool_use"):
        raise Unreadable(f"tool call: {where} calls {name[:60]}, which is of type {kind} and no function")
    if odd := [key for key, value in {**call, **inner}.items() if key not in _READ_CALLS and not is_nothing(value)]:
        raise Unreadable(f"tool call: {where} calls {name[:60]} with {', '.join(map(repr, odd[:5]))}, not known here")
    arguments = next((inner[key] for key in ("arguments", "parameters", "input") if inner.get(key) is not None), None)
    function = {"name": name, "arguments": _json_text(arguments, name, where)}
    made: dict[str, Any] = {"type": "function", "function": function}
    identity = call.get("id") or call.get("call_id")
    return {"id": str(identity), **made} if identity else made


def tools_text(value: Any) -> str | None:
    """Functions on offer as JSON text of a list, each as OpenAI has it; None where there are none.

    Raises:
        Unreadable: it is no list of functions with names.
    """
    if isinstance(value, str):
        value = parsed(value, "tools") if value.strip() else None
    if isinstance(value, dict):
        value = [value]
    if is_nothing(value):
        return None
    if not isinstance(value, list):
        raise Unreadable("tools: no list of functions")
    return json.dumps([_tool(number, tool) for number, tool in enumerate(value, 1)], ensure_ascii=False)


def has_channels(turns: list[Any]) -> bool:
    """Whether turns are messages of channels."""
    return any(isinstance(turn, dict) and turn.get(CHANNEL) in CHANNELS for turn in turns)


def without_channels(turns: list[Any]) -> list[Any]:
    """Messages of channels as turns: thoughts and calls beside the content of the turn that they are of.

    Raises:
        Unreadable: a message is of no known channel, calls what is no function, or thoughts lead to nothing.
    """
    found: list[Any] = []
    thoughts: str | None = None
    open_turn: dict[str, Any] | None = None  # commentary that leads to calls, or calls that more may follow
    for number, turn in enumerate(turns, 1):
        where = f"turn {number}"
        if not isinstance(turn, dict) or str(turn.get("role")).lower() not in ("assistant", "model"):
            if thoughts is not None:
                raise Unreadable(f"no answer: {where} follows thoughts (the channel analysis) and nothing else")
            open_turn = None
            found.append(_tool_message(turn))
            continue
        plain = {key: value for key, value in turn.items() if key not in _OF_CHANNELS}
        channel, recipient = turn.get(CHANNEL) or "final", turn.get("recipient")
        if channel not in CHANNELS:
            raise Unreadable(f"channel: {where} is on {channel!r}, which is not known here")
        if recipient not in (None, "", "all"):
            passed = _text_of(turn.get("content"), where)
            call = call_of({"name": _function(recipient, where), "arguments": passed}, where)
            if open_turn is None:
                open_turn = plain | {"content": "", "tool_calls": []}
                found.append(open_turn)
            open_turn["tool_calls"] = [*(open_turn.get("tool_calls") or []), call]
        elif channel == "analysis":
            if thoughts is not None:
                raise Unreadable(f"thoughts: {where} thinks (the channel analysis) again before it answers")
            thoughts, open_turn = _text_of(turn.get("content"), where).strip(), None
            continue
        else:
            found.append(plain)
            open_turn = plain if channel == "commentary" else None
        if thoughts:
            found[-1]["reasoning_content"] = thoughts
        thoughts = None
    if thoughts is not None:
        raise Unreadable("no answer: the conversation ends in thoughts (the channel analysis)")
    return found


def without_tool_parts(turns: list[Any]) -> list[Any]:
    """Turns whose content has parts of the type tool_result (Anthropic's form) with these as turns of their own."""
    found: list[Any] = []
    for turn in turns:
        content = turn.get("content") if isinstance(turn, dict) else None
        results = [part for part in content if _type(part) == "tool_result"] if isinstance(content, list) else []
        if not results:
            found.append(turn)
            continue
        for part in results:
            found.append({"role": "tool", "content": part.get("content"), "tool_call_id": part.get("tool_use_id")})
        if rest := [part for part in content or () if _type(part) != "tool_result"]:
            found.append(turn | {"content": rest})
    return found


def parsed(text: str, what: str) -> Any:
    """JSON text as values.

    Raises:
        Unreadable: it is none; the reason begins with `what`.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise Unreadable(f"{what} is no JSON ({said})") from error


def is_nothing(value: Any) -> bool:
    """Whether there is nothing in a value: what a file leaves out is null in its column, however deep."""
    if isinstance(value, dict):
        return all(map(is_nothing, value.values()))
    return value is None or value in ("", [])


def present(value: Any) -> Any:
    """A value without the keys that are null: what a file leaves out is null in its column."""
    if isinstance(value, dict):
        return {key: present(item) for key, item in value.items() if item is not None}
    return [present(item) for item in value] if isinstance(value, list) else value


def _json_text(arguments: Any, name: str, where: str) -> str:
    """Arguments as JSON text of an object; text that is this already stays as it is."""
    if arguments is None or arguments in ("", []):
        return "{}"
    if isinstance(arguments, str):
        if isinstance(parsed(arguments, f"tool call: {where} calls {name[:60]}, and what it passes"), dict):
            return arguments
    elif isinstance(arguments, dict):
        return json.dumps(arguments, ensure_ascii=False)
    raise Unreadable(f"tool call: {where} calls {name[:60]}, and what it passes is no object")


def _tool(number: int, tool: Any) -> dict[str, Any]:
    if isinstance(tool, str):
        tool = parsed(tool, f"tools: number {number}")
    inner = tool.get("function") or tool if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise Unreadable(f"tools: number {number} is no function with a name")
    if inner is not tool:
        made: dict[str, Any] = tool if tool.get("type") else {"type": "function", **tool}
        return made
    inner = {key: value for key, value in inner.items() if (key, value) != ("type", "function")}
    if "input_schema" in inner and "parameters" not in inner:
        inner["parameters"] = inner.pop("input_schema")
    if _is_bare(parameters := inner.get("parameters")):
        inner["parameters"] = {"type": "object", "properties": parameters}
    return {"type": "function", "function": inner}


def _is_bare(parameters: Any) -> bool:
    """Whether parameters are objects by name, without the JSON Schema around them."""
    if not isinstance(parameters, dict) or not parameters or {"properties", "$defs"} & parameters.keys():
        return False
    return all(isinstance(item, dict) for item in parameters.values())


def _tool_message(turn: Any) -> Any:
    """A message that is not the assistant's, without what only channels need: the tool is called by its bare name."""
    if not isinstance(turn, dict):
        return turn
    plain = {key: value for key, value in turn.items() if key not in _OF_CHANNELS}
    if isinstance(plain.get("name"), str):
        plain["name"] = plain["name"].removeprefix("functions.")
    return plain


def _function(recipient: Any, where: str) -> str:
    """The function that a message is for.

    Raises:
        Unreadable: it is for a tool that is built into a model.
    """
    if not isinstance(recipient, str) or not recipient.startswith("functions."):
        raise Unreadable(f"tool call: {where} is for {str(recipient)[:60]}, which is no function")
    return recipient.removeprefix("functions.")


def _text_of(content: Any, where: str) -> str:
    parts = content if isinstance(content, list) else [content]
    texts: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise Unreadable(f"not text: {where} holds something else")
    return "\n".join(texts)


def _type(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None
