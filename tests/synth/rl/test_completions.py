"""What completions say, as the trainers give them: texts, messages, calls of tools, thoughts cut off."""

from typing import Any

import pytest

from filters.response.calls import only_calls
from synth.rl.completions import Completion, prompt_text, read_completion

ASK = [{"role": "user", "content": "What is 2 + 2?"}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def nested(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(depth):
        made = {"a": made}
    return made


@pytest.mark.parametrize(
    ("prompt", "completion", "response"),
    [
        ("2 + 2 =", " 4", " 4"),
        ("2 + 2 =", None, ""),
        ("2 + 2 =", "", ""),
        ("<|user|>2 + 2?<|assistant|><think>\n", "It is 4", "<think>\nIt is 4"),  # the template opened the thoughts
        ("<|assistant|><think>\n\n</think>\n\n", "4", "4"),
        ("Explain <think> to me", "It is a tag", "It is a tag"),
        (ASK, [assistant("4")], "4"),
        (ASK, assistant("4"), "4"),
        (ASK, [assistant(None)], ""),
        (ASK, [assistant([{"type": "text", "text": "It is"}, {"type": "text", "text": "4"}])], "It is\n4"),
        (ASK, [assistant("<think>2, so 4</think>\n\nFour")], "Four"),
        (ASK, [assistant("Four", reasoning_content="2, so 4")], "Four"),
        (ASK, [assistant("<think>2, so \\boxed{4}")], "<think>2, so \\boxed{4}"),
        (ASK, [assistant("", reasoning_content="so \\boxed{4}")], "<think>\nso \\boxed{4}"),
        (ASK, [], ""),
        (ASK, [assistant("Let me see", tool_calls=[CALL]), {"role": "tool", "name": "add", "content": "4"}], ""),
        (ASK, [assistant("", tool_calls=[CALL]), {"role": "tool", "content": "4"}, assistant("It is 4")], "It is 4"),
        ([*ASK, assistant("It is ")], [assistant("4")], "It is 4"),
        (ASK, [assistant([{"type": "text", "text": "This:"}, {"type": "image"}])], "This:"),
        (ASK, [{"content": "4"}], "4"),
        (ASK, [assistant("So", tool_calls=[{"function": {"name": "add", "arguments": nested(20_000)}}])], "So"),
        (ASK, [assistant([nested(20_000)], reasoning_content=nested(20_000))], ""),
    ],
)
def test_response(prompt: Any, completion: Any, response: str) -> None:
    assert read_completion(prompt, completion).response == response


def test_calls_are_given_as_verifiers_know_them() -> None:
    called = only_calls(read_completion(ASK, [assistant(None, tool_calls=[CALL])]).response)
    assert called is not None and called["tool_calls"][0]["function"]["name"] == "add"


def test_the_text_is_all_that_was_written() -> None:
    parsed = read_completion(ASK, [assistant("Four", reasoning_content="so 4")])
    assert parsed == Completion("<think>\nso 4\n</think>\n\nFour", "Four")
    assert read_completion("<think>\n", "so 4</think>Four").text == "<think>\nso 4</think>Four"
    assert read_completion(ASK, [assistant("", reasoning_content="so 4")]).text == "<think>\nso 4"  # cut off
    assert read_completion(ASK, parsed) is parsed


def test_prompt_text() -> None:
    assert prompt_text("2 + 2 =") == "2 + 2 ="
    later = [*ASK, assistant("4"), {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Why?"}]}]
    assert prompt_text(later) == "Why?"
    assert prompt_text([]) == ""
