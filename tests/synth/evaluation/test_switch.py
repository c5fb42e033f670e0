"""The switch of a model that can think: what it answers in either mode, and what of it is kept."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from filters.verdict import Task, VerifierSettings
from synth.chat.format import ChatFormat
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.evaluation.run import EvaluationRun, answer_all, open_verifiers
from synth.evaluation.scores import Results, as_json, compare, results_of
from synth.evaluation.suites import Item, Suite
from synth.evaluation.switch import modes_for
from synth.evaluation.table import score_table
from tests.synth.methods.scripted import chat_model

EXACT = VerifierSettings("exact")


def run_of(*modes: Any) -> EvaluationRun:
    old, new = (
        Suite(
            name, [Item([{"role": "user", "content": f"{name} {n}"}], Task(str(n), ""), EXACT) for n in range(4)], new
        )
        for name, new in (("old", False), ("new", True))
    )
    return EvaluationRun([old, new], Sampling(max_tokens=60, temperature=0.0)).asked_in(modes)


def answered(chat: ChatFormat, say: Callable[[str], str], run: EvaluationRun) -> list[dict[str, Any]]:
    async def go() -> list[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            verifiers = await open_verifiers(stack, run.suites)
            return await answer_all(run, chat_model(chat, lambda prompt, _: say(prompt)), verifiers)

    return asyncio.run(go())


def number(prompt: str) -> str:
    return prompt.split("<|user|>")[1].split("<|end|>")[0][-1]


def obedient(prompt: str) -> str:
    at_once = prompt.endswith("</think>\n\n")
    return number(prompt) if at_once else f"<think>\nIt is {number(prompt)}.\n</think>\n\n{number(prompt)}"


def thoughtless(prompt: str) -> str:
    """As after a training on answers without thoughts: empty ones where thoughts are asked for."""
    return number(prompt) if prompt.endswith("</think>\n\n") else f"<think>\n\n</think>\n\n{number(prompt)}"


def endless(prompt: str) -> str:
    return number(prompt) if prompt.endswith("</think>\n\n") else "<think>\nOn and on and on…"


def restless(prompt: str) -> str:
    """It thinks in plain mode, too, after the empty thoughts of its prompt."""
    return f"<think>\nStill, it is {number(prompt)}.\n</think>\n\n{number(prompt)}"


def results(chat: ChatFormat, say: Callable[[str], str], *modes: Any) -> Results:
    run = run_of(*modes)
    return results_of(say.__name__, "m", answered(chat, say, run))


def test_modes_are_those_of_the_models(hybrid_chat: ChatFormat, chat: ChatFormat) -> None:
    assert modes_for(None, {"a": hybrid_chat, "b": hybrid_chat}) == ("thinking", "plain")
    assert modes_for("plain", {"a": hybrid_chat}) == ("plain",)
    assert modes_for(None, {"a": chat}) == ()
    with pytest.raises(
        UsageError, match=r"`mode` thinking: the chat template of a has no mode thinking \(it has: none\)"
    ):
        modes_for("thinking", {"a": chat})
    with pytest.raises(UsageError, match="the chat template of b has no mode thinking"):
        modes_for(None, {"a": hybrid_chat, "b": chat})


def test_every_item_is_asked_in_both_modes_and_the_answer_alone_is_judged(hybrid_chat: ChatFormat) -> None:
    run = run_of("thinking", "plain")
    records = answered(hybrid_chat, obedient, run)
    assert run.total == len(records) == 16
    assert len({record["id"] for record in records}) == 16
    assert list(dict.fromkeys(record["suite"] for record in records)) == [
        "old, thinking",
        "old, plain",
        "new, thinking",
        "new, plain",
    ]
    first, second = records[1], records[5]
    assert first["messages"][-1] == {"role": "assistant", "content": "1", "reasoning_content": "It is 1."}
    assert second["messages"][-1] == {"role": "assistant", "content": "1"}
    assert (first["mode"], first["verdict"], first["obeyed"], first["unended"]) == ("thinking", "right", True, False)
    assert (second["mode"], second["verdict"], second["obeyed"]) == ("plain", "right", True)
    assert first["thought_tokens"] > 0 and second["thought_tokens"] == 0
    assert {"mode", "obeyed", "unended", "thought_tokens"} <= set(run.schema.names)


def test_one_mode_keeps_the_names_of_suites(hybrid_chat: ChatFormat) -> None:
    records = answered(hybrid_chat, obedient, run_of("thinking"))
    assert {record["suite"] for record in records} == {"old", "new"}
    assert as_json([results_of("m", "m", records)])[0]["modes"].keys() == {"thinking"}


def test_without_modes_all_is_as_for_other_models(chat: ChatFormat) -> None:
    records = answered(chat, lambda prompt: number(prompt), run_of())
    assert not {"mode", "obeyed", "unended", "thought_tokens"} & records[0].keys()
    assert "mode" not in run_of().schema.names
    [found] = as_json([results_of("m", "m", records)])
    assert found["modes"] == {} and found["old"] == 1


def test_a_switch_that_is_not_obeyed_is_an_ability_lost(hybrid_chat: ChatFormat) -> None:
    """All answers stay right: what is lost is that thoughts come where they are asked for."""
    modes = ("thinking", "plain")
    before, after = results(hybrid_chat, obedient, *modes), results(hybrid_chat, thoughtless, *modes)
    comparison = compare(before, after)
    assert comparison.retention.kept == pytest.approx(3 / 4)  # two suites and two modes; one of these is gone
    assert comparison.retention.gain == 0
    assert comparison.transitions["thinks if asked to"].lost == 4  # of what it could do before: the new suite is not
    assert comparison.alarms == [
        "mode thinking: 100% of the answers come without the thoughts that were asked for (0% before)"
    ]
    first, second = as_json([before, after])
    assert first["modes"]["thinking"]["accuracy"] == 1 and first["modes"]["thinking"]["thought_tokens"] > 0
    assert second["modes"]["thinking"]["accuracy"] == 0 and second["modes"]["thinking"]["thought_tokens"] == 0
    assert second["modes"]["thinking"]["transitions"]["lost"] == 4
    assert second["modes"]["plain"]["accuracy"] == 1
    assert list(second["suites"]) == ["old, thinking", "old, plain", "new, thinking", "new, plain"]
    lines = str(score_table({"models": [first, second]})).splitlines()
    assert any(line.startswith("thinks if asked to") and "↓4" in line for line in lines)
    assert any(line.startswith("tokens of thoughts, median") for line in lines)
    assert any(line.startswith("kept of the old") and "75.0%" in line for line in lines)


def test_thoughts_without_end_are_wrong_and_raise_an_alarm(hybrid_chat: ChatFormat) -> None:
    before, after = (results(hybrid_chat, say, "thinking", "plain") for say in (obedient, endless))
    assert set(after.verdicts["old, thinking"]) == {"wrong"} and set(after.verdicts["old, plain"]) == {"right"}
    alarms = compare(before, after).alarms
    assert "mode thinking: 100% of the answers have thoughts that do not end (0% before)" in alarms
    assert any("do not end" in alarm and alarm.startswith("old, thinking") for alarm in alarms)
    assert any(
        line.startswith("thoughts without end") for line in str(score_table({"models": as_json([after])})).split("\n")
    )


def test_thoughts_where_none_are_wanted(hybrid_chat: ChatFormat) -> None:
    before, after = (results(hybrid_chat, say, "thinking", "plain") for say in (obedient, restless))
    assert (
        "mode plain: 100% of the answers have thoughts that were not wanted (0% before)"
        in compare(before, after).alarms
    )


def test_much_longer_thoughts_raise_an_alarm(hybrid_chat: ChatFormat) -> None:
    def wordy(prompt: str) -> str:
        return obedient(prompt).replace("It is", "Well, let me see what that may be. I believe it is")

    before, after = (results(hybrid_chat, say, "thinking", "plain") for say in (obedient, wordy))
    [alarm] = compare(before, after).alarms
    assert alarm.startswith("mode thinking: thoughts have ")


def test_what_cannot_be_asked_says_nothing_of_the_switch(hybrid_chat: ChatFormat) -> None:
    long = Suite("long", [Item([{"role": "user", "content": "<|end|>"}], Task("x"), EXACT)])
    run = EvaluationRun([long], Sampling(max_tokens=9, temperature=0.0)).asked_in(("thinking", "plain"))
    [model] = as_json([results_of("m", "m", answered(hybrid_chat, obedient, run))])
    assert model["modes"]["thinking"]["accuracy"] is None and model["modes"]["thinking"]["unscorable"] == 1
