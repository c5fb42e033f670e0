"""Curation by what a model makes of rows: its vectors, its tokens."""

from pathlib import Path

import pytest

from synth.curation.context import FilterContext
from synth.curation.frames import columns_of
from synth.curation.registry import StepKind
from synth.errors import UsageError
from tests.synth.curation.test_pipeline import curate, opened, pair, run, tasks_of


def test_choosing_by_a_model_s_vectors(tmp_path: Path, model: str) -> None:
    rows = [pair(f"Swap the first and the last word. The text is “{word} kitten”.", "a") for word in ("eagle", "owl")]
    rows += [pair("Will it rain in Leeds on Thursday. Use a function.", "b", quality=5)] * 2
    tasks = tasks_of(tmp_path, rows)
    context = FilterContext(columns_of(tasks))  # loads the model once

    def stay(*asked: tuple[StepKind, str]) -> list[int]:
        found = curate(tasks, opened(asked, context))
        return [row for row, reason in enumerate(found.reasons) if reason is None]

    assert stay(("filter", f"semantic-duplicates:{model},threshold=0.999")) == [0, 1, 2]
    assert [row // 2 for row in stay(("keep", f"representatives:2,{model}"))] == [0, 1]
    assert stay(("keep", f"diverse:1,{model},by=quality"), ("keep", f"representatives:50%,{model}")) == [2]
    assert list(context.inputs) == [model]
    kitten = tasks_of(tmp_path, [pair("Swap the first and the last word. The text is “eagle kitten”.", "a")], "k.jsonl")
    step = f"semantic-duplicates:{model},threshold=0.999,of=text,against={kitten.source.source}"
    found = curate(tasks, opened([("filter", step)], context)).reasons
    assert (found[0] or "").startswith("semantic-duplicates / semantic duplicate: of k row 0, cosine 1.00")
    assert found[2:] == [None, None]  # alike among themselves, which is not asked for
    assert list(context.inputs) == [model, kitten.source.source]


def test_lengths_in_tokens(tmp_path: Path, model: str) -> None:
    tasks = tasks_of(tmp_path, [pair("q", "<|im_end|> " * n + "Say it.") for n in (0, 50)] + [pair("q", "")])
    context = FilterContext(columns_of(tasks))
    found = curate(tasks, opened([("filter", f"length:max=60,unit=tokens,model={model}")], context)).reasons
    assert found[0] is None and found[2] == "length / too short: answer of 0 tokens"
    assert (found[1] or "").startswith("length / too long: answer of ") and list(context.inputs) == [model]
    for text, words in (("length:unit=tokens", "model=M"), (f"length:model={model}", "unit=tokens")):
        with pytest.raises(UsageError, match=words):
            run(tasks, ("filter", text))


def test_a_budget_of_tokens(tmp_path: Path, model: str) -> None:
    tasks = tasks_of(tmp_path, [pair(f"Say {n}.", f"{n}", quality=n) for n in range(9)] + [pair("", "")])
    with pytest.raises(UsageError, match="model=M"):
        run(tasks, ("keep", "tokens:50"))
    found = curate(tasks, opened([("keep", f"tokens:50,quality,{model}")], FilterContext(columns_of(tasks))))
    kept = [row for row, reason in enumerate(found.reasons) if reason is None]
    assert kept and kept == list(range(9 - len(kept), 9))
    words = {reason for reason in found.reasons[:-1] if reason}
    assert all("over the budget: " in word for word in words) and found.reasons[-1] == "tokens / no quality"
