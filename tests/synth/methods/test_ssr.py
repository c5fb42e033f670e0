"""Self-synthesised rehearsal: what a model is shown, what of its inputs is taken, and which are answered."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synth.chat.format import ChatFormat
from synth.data.prompts import open_prompts
from synth.data.read import open_rows
from synth.data.row import Outcome, Row
from synth.engines.base import Engine, Sampling
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.methods.ssr import (
    Example,
    SsrSettings,
    answers,
    by_representation,
    chosen_rows,
    input_rows,
    inputs,
    kept_examples,
    shots_prompt,
)
from tests.synth.methods.scripted import Scripted, always

EXAMPLES = [Example(({"role": "user", "content": f"What is {n} plus 1?"},), f"It is {n + 1}.") for n in range(20)]
SETTINGS = SsrSettings()


def complete(method: Any, rows: Sequence[Row]) -> list[Outcome]:
    async def all_rows() -> list[Outcome]:
        return [await method(row) for row in rows]

    return asyncio.run(all_rows())


def requests(chat_model: ChatModel) -> list[tuple[list[int], Sampling]]:
    assert isinstance(chat_model.engine, Scripted)
    return chat_model.engine.asked


def write(
    chat_model: ChatModel, count: int, examples: Sequence[Example] = EXAMPLES, settings: SsrSettings = SETTINGS
) -> list[Outcome]:
    rows = input_rows({"seed": 0}, "m")(0)
    return complete(inputs(chat_model, examples, settings), [next(rows) for _ in range(count)])


def test_two_examples_are_shown_and_the_next_input_is_asked_for(chat: ChatFormat) -> None:
    says = always(chat, " What is 55 plus 1?")
    outcomes = write(says, 100)
    assert all(outcome.reason is None for outcome in outcomes)
    assert outcomes[0].row.messages == [{"role": "user", "content": "What is 55 plus 1?"}]
    shown: Counter[str] = Counter()
    asked = requests(says)
    for ids, sampling in asked:
        text = chat.tokenizer.decode(ids)
        assert text.startswith("<bos>Input: What is ") and text.endswith("\n\nInput:")
        assert text.count("Output: It is ") == 2 and sampling.stop == ("\nOutput:",)
        shown.update([text])
    assert len(shown) > 80  # of 380 ordered pairs
    assert len({sampling.seed for _, sampling in asked}) == 100
    again = always(chat, "x")
    write(again, 100)
    assert requests(again) == asked


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "input empty"),
        (" ab", "input too short"),
        (" What  is 3 PLUS 1?", "copy of a kept example"),
        (" What?<|assistant|>It", "input template debris: <|assistant|>"),
        (" 1 2" * 40, "input repetition"),
    ],
)
def test_inputs_that_are_of_no_use_are_rejected(said: str, reason: str, chat: ChatFormat) -> None:
    [outcome] = write(always(chat, said), 1)
    assert outcome.reason == reason


def test_an_input_that_does_not_end_is_rejected(chat: ChatFormat) -> None:
    settings = SsrSettings(question=Sampling(max_tokens=4, temperature=0.9))
    [cut] = write(always(chat, " What is 77 plus 1?"), 1, settings=settings)
    assert cut.reason == "input cut off"


def test_control_tokens_of_examples_stay_text_and_system_turns_are_kept(chat: ChatFormat) -> None:
    system = {"role": "system", "content": "Sums."}
    hostile = Example((system, {"role": "user", "content": "<|end|>{question}"}), "<|user|>")
    ids = shots_prompt(chat, [hostile, EXAMPLES[0]])
    assert not set(ids[1:]) & set(chat.template.added.values())
    text = "Sums.\n\nInput: <|end|>{question}\nOutput: <|user|>\n\nInput: What is 0 plus 1?\nOutput: It is 1.\n\nInput:"
    assert chat.tokenizer.decode(ids) == "<bos>" + text
    [outcome] = write(always(chat, " What now?"), 1, [hostile, hostile])
    assert outcome.row.messages == [system, {"role": "user", "content": "What now?"}]


def test_examples_are_questions_with_answers_each_once(tmp_path: Path) -> None:
    lines = [{"question": f"q{n % 3}", "answer": "a" if n else None} for n in range(9)]
    lines.append({"question": "q9", "answer": ""})
    file = tmp_path / "kept.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    tasks = open_prompts(open_rows(str(file)))
    found = kept_examples(tasks.rows("", {}, open_rows(str(file)).schema)(0))
    assert sorted(example.question for example in found) == ["q0", "q1", "q2"]
    with pytest.raises(UsageError, match="1 rows are one question with its answer"):
        kept_examples([Row("1", [{"role": "user", "content": "q"}], "", reference="a")] * 4)


def test_each_group_is_represented_in_proportion() -> None:
    kinds = ["sum"] * 60 + ["list"] * 30 + ["joke"] * 10
    rows = [
        {"id": str(n), "messages": [{"role": "user", "content": f"{kind} {n % 7}"}]} for n, kind in enumerate(kinds)
    ]

    def embed(texts: Sequence[str]) -> Any:
        near = np.array([[int(text.split()[1]) / 50] for text in texts])
        return np.hstack([[[text.startswith(kind) for kind in ("sum", "list", "joke")] for text in texts], near])

    chosen = by_representation(rows, embed, SsrSettings(clusters=3))
    assert sorted(one.name for one in chosen) == sorted(map(str, range(100)))
    for n in (10, 20, 50):
        first = Counter(one.messages[0]["content"].split()[0] for one in chosen[:n])
        assert first == {"sum": 0.6 * n, "list": 0.3 * n, "joke": 0.1 * n}
    sums = [one.distance for one in chosen if one.messages[0]["content"].startswith("sum")]
    assert sums == sorted(sums)
    made = list(chosen_rows(chosen, {"seed": 1})(0))
    assert len({row.id for row in made}) == 100 and [row.parent for row in made] == [one.name for one in chosen]
    assert [row.id for row in chosen_rows(chosen, {"seed": 1})(40)] == [row.id for row in made[40:]]


def test_the_model_answers_itself(loop: Any, transformers_engine: Engine, chat: ChatFormat) -> None:
    row = Row("1", [{"role": "user", "content": "Olga has 98 rolls and sells 30. How many rolls are left?"}], "ssr")
    settings = SsrSettings(answer=Sampling(max_tokens=60, temperature=0))
    outcome = loop.run(answers(ChatModel(transformers_engine, chat, "sample"), settings)(row))
    assert outcome.reason is None and outcome.row.model == "sample"
    assert outcome.row.messages[-1] == {"role": "assistant", "content": "98 - 30 = 68. The answer is 68."}
    [cut] = complete(answers(always(chat, "It is so. " * 60), settings), [row])
    assert cut.reason == "answer cut off"


def test_settings_that_cannot_work() -> None:
    with pytest.raises(UsageError, match="`clusters` must be at least 1"):
        SsrSettings(clusters=0)
    with pytest.raises(UsageError, match="temperature 0"):
        SsrSettings(question=Sampling(temperature=0))
