import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from filters.verdict import Task, VerifierSettings
from synth.chat.format import ChatFormat
from synth.engines.base import Completion, Engine, EngineOptions, Sampling
from synth.engines.hf.engine import load_model
from synth.errors import UsageError
from synth.evaluation.alarms import language_of, signs_of
from synth.evaluation.run import EvaluationRun, answer_all, open_verifiers
from synth.evaluation.scores import Results, as_json, compare, harness_lines, pick, results_of, share_of
from synth.evaluation.suites import Item, Suite
from synth.generation.chat_model import ChatModel
from synth.scoring.divergence import forward_divergences

EXACT = VerifierSettings("exact")


def suite(name: str, *pairs: tuple[str, str], new: bool = False, verifier: VerifierSettings = EXACT) -> Suite:
    return Suite(
        name,
        [Item([{"role": "user", "content": prompt}], Task(answer, prompt), verifier) for prompt, answer in pairs],
        new,
    )


def answered(run: EvaluationRun, engine: Engine, chat: ChatFormat) -> list[dict[str, Any]]:
    async def go() -> list[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            verifiers = await open_verifiers(stack, run.suites)
            return await answer_all(run, ChatModel(engine, chat, "sample"), verifiers)

    return asyncio.run(go())


GREEDY = Sampling(max_tokens=60, temperature=0.0)


def test_all_suites_are_asked_and_judged(transformers_engine: Engine, chat: ChatFormat) -> None:
    right = ('Swap the first and the last word. The text is "eagle kitten".', "kitten eagle")
    wrong = ("For Lumeria, what is the main river?", "The Nile.")
    run = EvaluationRun([suite("strings", right), suite("world", wrong, new=True)], GREEDY)
    first, second = answered(run, transformers_engine, chat)
    assert (first["suite"], first["item"], first["new"], first["verdict"]) == ("strings", 0, False, "right")
    assert first["messages"][-1] == {"role": "assistant", "content": "kitten eagle"}
    assert first["tokens"] > 1
    assert not (first["refused"] or first["repetitive"] or first["cut_off"])
    assert (second["suite"], second["new"], second["verdict"]) == ("world", True, "wrong")
    assert "Swale" in second["messages"][-1]["content"]


def test_what_cannot_be_asked_is_unscorable(transformers_engine: Engine, chat: ChatFormat) -> None:
    nothing = Suite("odd", [Item([], Task("x"), EXACT)])
    long = suite("long", ("word " * 2_000, "x"))
    control = suite("control", ("<|end|>", "x"))
    records = answered(EvaluationRun([nothing, long, control], GREEDY), transformers_engine, chat)
    assert [record["verdict"] for record in records] == ["unscorable"] * 3
    assert records[0]["verdict_reason"] == "no prompt"
    assert "window" in records[1]["verdict_reason"]
    assert "not asked" in records[2]["verdict_reason"]
    found = results_of("sample", "m", records)
    assert [score.accuracy for score in found.scores()] == [None] * 3
    assert as_json([found])[0]["suites"]["odd"]["unscorable_reason"] == "no prompt"


def opening(*suites: Suite) -> None:
    async def go() -> None:
        async with AsyncExitStack() as stack:
            await open_verifiers(stack, suites)

    asyncio.run(go())


def test_a_verifier_that_takes_no_reference_is_found_before_any_model() -> None:
    with pytest.raises(UsageError, match=r"suite words: .*judges none of the first 2 references"):
        opening(suite("words", ("a", "apple"), ("b", "pear"), verifier=VerifierSettings("number")))
    with pytest.raises(UsageError, match="majority compares samples"):
        opening(suite("words", ("a", "apple"), verifier=VerifierSettings("majority")))
    with pytest.raises(UsageError, match="`judge`"):
        opening(suite("words", ("a", "apple"), verifier=VerifierSettings("judge")))


def answer(text: str, finish: Any = "stop", tokens: Sequence[int] = (1,)) -> Completion:
    return Completion(tuple(tokens), text, finish)


def test_signs() -> None:
    assert signs_of(answer("I'm sorry, but I can't help with that.")).refused
    assert not signs_of(answer("Sure, here it is.")).refused
    assert signs_of(answer("on and on", "length")).cut_off
    assert signs_of(answer("a b a b", tokens=[1, 2] * 40)).repetitive
    assert not signs_of(answer("a b c d", tokens=range(80))).repetitive


def test_languages_are_told_of_prose_only() -> None:
    assert language_of("The longest river of Lumeria is the Swale, which flows into the sea.") == "en"
    assert language_of("Der längste Fluss von Lumeria ist die Swale, die ins Meer fließt.") == "de"
    assert language_of("答案是七，其他的都不对，我认为这里没有别的答案。" * 3) == "zh"
    assert language_of("The answer is 7.") is None
    assert language_of("```python\ndef f(n):\n    return n % 2 == 0 and n % 3 == 0 and n % 5 == 0\n```") is None
    assert language_of("12 + 13 = 25, 25 * 4 = 100, 100 - 7 = 93, 93 / 3 = 31; " * 5) is None


def results(name: str, old: str, new: str, language: str | None = "en", **signs: float) -> Results:
    """Results of an old suite and a new one; verdicts by their first letters."""
    words = {"r": "right", "w": "wrong", "u": "unscorable"}
    none = {"refused": 0.0, "repetitive": 0.0, "cut_off": 0.0, "tokens": 5.0}
    verdicts = {"old": [words[letter] for letter in old], "new": [words[letter] for letter in new]}
    languages = {suite: [language] * len(found) for suite, found in verdicts.items()}
    return Results(name, f"models/{name}", verdicts, {"old": none | signs, "new": none}, languages, {"new"})


def test_two_models_item_by_item() -> None:
    before, after = results("base", "rrrrrrrrww", "rrwwwwwwww"), results("tuned", "rrrrwwwwrw", "rrrrrrwwwu")
    found = compare(before, after)
    moved = found.transitions["old"]
    assert (moved.kept, moved.lost, moved.gained, moved.never, moved.unscorable) == (4, 4, 1, 1, 0)
    assert found.transitions["new"].gained == 4
    assert found.retention.kept == pytest.approx(5 / 8)
    assert found.retention.gain == pytest.approx(6 / 9 - 2 / 10)
    low, high = found.intervals["old"]
    assert low < -0.3 < high
    assert found.alarms == []


def test_alarms() -> None:
    before = results("base", "rrrr", "wwww")
    told = compare(before, results("tuned", "rrrr", "wwww", "de", refused=0.5, cut_off=0.04)).alarms
    assert len(told) == 3
    assert told[0] == "old: 50% of the answers are refusals (0% before)"
    assert "another language (de)" in told[1]
    assert "another language (de)" in told[2]
    assert compare(before, results("tuned", "rrrr", "wwww", None)).alarms == []


def test_a_sweep_takes_the_best_of_those_that_keep_enough() -> None:
    base = results("base", "r" * 20, "w" * 20)
    models = [
        base,
        results("tuned", "r" * 4 + "w" * 16, "r" * 18 + "ww"),
        results("0.3", "r" * 20, "r" * 6 + "w" * 14),
        results("0.6", "r" * 19 + "w", "r" * 12 + "w" * 8),
    ]
    picked = pick(as_json(models), 0.95)
    assert (picked["name"], picked["enough"]) == ("0.6", True)
    picked = pick(as_json([base, models[1], replace(models[3], verdicts=models[1].verdicts, name="x")]), 0.95)
    assert not picked["enough"]


def test_a_share_counts_every_answer_alike() -> None:
    counts = {"right": 1, "wrong": 0, "unscorable": 0, "refused": 1.0}
    suites = {"small": counts, "large": {"right": 4, "wrong": 3, "unscorable": 2, "refused": 1 / 3}}
    assert share_of({"suites": suites}, "refused") == pytest.approx(0.4)
    assert share_of({"suites": {}}, "refused") == 0


def test_what_the_harness_found_of_any_model() -> None:
    found = {"sums": {"acc": 0.5, "acc_stderr": 0.1, "sample_len": 9}}
    models: list[dict[str, Any]] = [{"lm_eval": {}}, {"lm_eval": found}, {"lm_eval": {"sums": {"acc": 0.25, "f1": 1}}}]
    assert list(harness_lines(models)) == [("sums acc", [None, 0.5, 0.25]), ("sums f1", [None, None, 1])]


def test_divergence_agrees_with_whole_predictions(model: str, chat: ChatFormat) -> None:
    reference = load_model(model, EngineOptions(device="cpu"))
    tuned = load_model(model, EngineOptions(device="cpu"))
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in tuned.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=chance)
    texts = ["a", "What is the main river of Lumeria, and why?", "Reverse the order: 76, 14, 41."] * 30
    encoded = [
        chat.encode([{"role": "user", "content": text}, {"role": "assistant", "content": text + " Yes."}])
        for text in texts
    ]
    sequences = [np.array(one.input_ids, np.int32) for one in encoded]
    wanted = [np.array(one.trained) for one in encoded]
    found = forward_divergences(reference, tuned, sequences, wanted)
    for index in range(3):
        ids = torch.tensor(encoded[index].input_ids)[None]
        with torch.no_grad():
            before, now = (one(input_ids=ids).logits[0].log_softmax(-1) for one in (reference, tuned))
        each = (before.exp() * (before - now)).sum(-1)[:-1]
        assert found[index] == pytest.approx(float(each[torch.from_numpy(wanted[index][1:])].mean()), abs=1e-5)
    assert found[0] == pytest.approx(found[3], abs=1e-5)
    assert max(forward_divergences(reference, reference, sequences[:3], wanted[:3])) == pytest.approx(0, abs=1e-6)
