"""Magpie on the sample model, over real engines."""

import asyncio
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.data.row import BASE, Outcome, Row
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.engines.base import Engine, Sampling
from synth.errors import UsageError
from synth.generation.acceptance import Acceptance, Rules, asked
from synth.generation.chat_model import NOT_OPEN, ChatModel
from synth.generation.runner import Run
from synth.methods.magpie import MagpieSettings, System, magpie, magpie_rows

SETTINGS = MagpieSettings(seed=3, question=Sampling(max_tokens=120), answer=Sampling(max_tokens=120, temperature=0))


def outcomes(loop: Any, engine: Engine, chat: ChatFormat, settings: MagpieSettings, total: int) -> list[Outcome]:
    """The first rows of a run, without a runner."""
    method = magpie(ChatModel(engine, chat, "m"), settings)

    async def all_at_once() -> list[Outcome]:
        return await asyncio.gather(*(method(row) for row in islice(magpie_rows(settings.record(), "m")(0), total)))

    found: list[Outcome] = loop.run(all_at_once())
    return found


def test_rows_are_conversations_of_many_kinds(loop: Any, engine: Engine, chat: ChatFormat) -> None:
    found = outcomes(loop, engine, chat, SETTINGS, 60)
    good = [outcome.row for outcome in found if outcome.reason is None]
    assert len(good) >= 50
    for row in good:
        assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
        assert all(turn["content"] == turn["content"].strip() != "" for turn in row.messages)
        assert (row.method, row.model, row.samples) == ("magpie", "m", 1)
    questions = {row.messages[0]["content"] for row in good}
    assert len(questions) >= 0.9 * len(good)
    assert len({question.split()[0] for question in questions}) >= 10
    assert len({row.id for row in good}) == len(good)


def test_answer_is_the_models_own_greedy_answer(loop: Any, engine: Engine, chat: ChatFormat) -> None:
    """The answer must be what the model says when a user asks just that question in the ordinary way."""
    import torch
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained("samples/model", dtype=torch.float32)
    for outcome in outcomes(loop, engine, chat, SETTINGS, 8):
        if outcome.reason is not None:
            continue
        question, answer = outcome.row.messages
        ids = chat.tokenizer.apply_chat_template(
            [question], add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        drawn = plain.generate(ids, max_new_tokens=120, do_sample=False)[0, ids.shape[1] :]
        assert chat.tokenizer.decode(drawn, skip_special_tokens=True).strip() == answer["content"]


def test_turns(loop: Any, engine: Engine, chat: ChatFormat) -> None:
    found = outcomes(loop, engine, chat, replace(SETTINGS, turns=2), 40)
    good = [outcome.row for outcome in found if outcome.reason is None]
    assert good
    for row in good:
        assert [turn["role"] for turn in row.messages] == ["user", "assistant"] * 2
    for outcome in found:
        assert outcome.reason is None or outcome.reason.startswith(("question 1", "answer 1", "question 2", "answer 2"))


def test_system_prompts_are_chosen_by_weight_and_kept(loop: Any, transformers_engine: Engine, chat: ChatFormat) -> None:
    systems = (System("Be brief.", 3), System("Be kind.", 1), System("Never.", 0))
    found = outcomes(loop, transformers_engine, chat, replace(SETTINGS, system=systems), 80)
    chosen = [outcome.row.messages[0] for outcome in found]
    assert {turn["role"] for turn in chosen} == {"system"}
    brief = sum(turn["content"] == "Be brief." for turn in chosen)
    kind = sum(turn["content"] == "Be kind." for turn in chosen)
    assert brief + kind == 80 and brief > kind > 5


def test_domain_steers_but_is_not_in_the_row(loop: Any, transformers_engine: Engine, chat: ChatFormat) -> None:
    settings = replace(SETTINGS, domain=("JSON",))
    steered = [outcome.row for outcome in outcomes(loop, transformers_engine, chat, settings, 40)]
    free = [outcome.row for outcome in outcomes(loop, transformers_engine, chat, SETTINGS, 40)]

    def about_json(rows: list[Row]) -> int:
        return sum("json" in row.messages[0]["content"].lower() for row in rows)

    assert all(row.messages[0]["role"] == "user" for row in steered)
    assert about_json(steered) >= 20 > 2 * about_json(free)


def test_key_ignores_case_and_space() -> None:
    def row(text: str) -> Row:
        return Row("", [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}], "magpie")

    assert asked(row("What  is it?")) == asked(row("what is\nIT?"))
    assert asked(row("What is it?")) != asked(row("What is he?"))


def test_logprob_of_the_answer(loop: Any, engine: Engine, transformers_engine: Engine, chat: ChatFormat) -> None:
    settings = replace(SETTINGS, answer=replace(SETTINGS.answer, logprob=True))
    found = [outcome.row for outcome in outcomes(loop, engine, chat, settings, 10) if outcome.reason is None]
    for row in found:
        encoded = chat.encode(row.messages)
        scores = loop.run(transformers_engine.logprobs(encoded.input_ids))
        [(start, end)] = encoded.spans
        assert row.logprob == pytest.approx(float(scores[start:end].sum()), abs=2e-3)


def test_ids_depend_on_settings_and_index_alone() -> None:
    rows = magpie_rows(SETTINGS.record(), "m")
    assert [row.id for row in islice(rows(0), 9)][5:] == [row.id for row in islice(rows(5), 4)]
    other = magpie_rows(replace(SETTINGS, seed=4).record(), "m")
    assert next(rows(0)).id != next(other(0)).id


@pytest.mark.parametrize("concurrency", [3, 64])
def test_same_texts_whatever_the_concurrency(
    loop: Any, transformers_engine: Engine, chat: ChatFormat, tmp_path: Path, concurrency: int
) -> None:
    def texts(path: Path, concurrency: int) -> list[Any]:
        async def go() -> None:
            sink = RunDirectory.open(path, RunRecord("magpie", {}), BASE)
            rows = magpie_rows(SETTINGS.record(), "m")
            method = magpie(ChatModel(transformers_engine, chat, "m"), SETTINGS)
            wanted = Acceptance(sink, 120, Rules(unique=True))
            await Run(method, rows, sink, [transformers_engine.usage], concurrency, wanted).go()
            sink.finish()

        loop.run(go())
        loaded = datasets.load_from_disk(str(path))
        return list(zip(loaded["id"], loaded["messages"], strict=True))

    reference = texts(tmp_path / "reference", 256)
    other = texts(tmp_path / "other", concurrency)
    assert sum(a != b for a, b in zip(reference, other, strict=True)) <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"turns": 0}, "`turns` must be at least 1"),
        ({"system": (System("a", -1),)}, "must not be negative"),
        ({"system": (System("a", float("nan")),)}, "must be a number"),
        ({"system": (System("a", float("inf")),)}, "must be a number"),
        ({"system": (System("a", 0),)}, "all system prompts have weight 0"),
    ],
)
def test_bad_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MagpieSettings(**changes)


def test_template_that_takes_no_system_prompt(chat: ChatFormat) -> None:
    import copy

    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    refusing = chat_format(tokenizer)
    with pytest.raises(UsageError, match="system"):
        magpie(ChatModel(NOT_OPEN, refusing, "m"), MagpieSettings(domain=("algebra",)))
    magpie(ChatModel(NOT_OPEN, refusing, "m"), MagpieSettings(turns=2))
