"""`synth.sample`, and what its rows can be used for at once."""

import json
import shutil
from pathlib import Path

import pytest

import synth
from tests.conftest import MODEL

TASK = [{"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}."} for n in range(8)]


@pytest.fixture(scope="module")
def samples(model: synth.Model, tmp_path_factory: pytest.TempPathFactory) -> synth.Dataset:
    output = tmp_path_factory.mktemp("samples") / "samples"
    return synth.sample(model, rows=12, length=40, output=output, progress=synth.SILENT)


def test_a_run_is_gone_on_with_and_the_rows_are_those_of_one_call(
    model: synth.Model, samples: synth.Dataset, tmp_path: Path
) -> None:
    for rows in (5, 12):
        again = synth.sample(model, rows=rows, length=40, output=tmp_path / "twice", progress=synth.SILENT)
    assert [row["id"] for row in again] == [row["id"] for row in samples]
    assert sum(one["text"] != other["text"] for one, other in zip(again, samples, strict=True)) <= 1
    assert samples.record is not None and samples.record.settings["context"] == [1]
    assert samples.to_dataset().column_names == ["id", "method", "model", "text", "input_ids", "labels"]


def test_samples_are_trained_on_scored_filtered_and_mixed_as_they_were_drawn(
    model: synth.Model, samples: synth.Dataset, tmp_path: Path
) -> None:
    drawn = [row["input_ids"] for row in samples]
    plan = synth.train(samples, MODEL, dry_run=True, progress=synth.SILENT).plan
    assert (plan.sources[0].tokens, plan.sources[0].trained) == (12 * 40, 12 * 39) and not plan.rejected

    scored = synth.score_tokens(model, samples, progress=synth.SILENT)
    assert [row["input_ids"] for row in scored] == drawn
    assert all(row["logprobs"][0] is None and None not in row["logprobs"][1:] for row in scored)

    kept = synth.filter(samples, [lambda frame: frame["text"].str.len_chars() < 0], progress=synth.SILENT)
    assert len(kept) == 0 and kept.rejected is not None and len(kept.rejected) == 12
    kept = synth.filter(samples, ["length:max=100000", "duplicates"], progress=synth.SILENT)
    assert [row["input_ids"] for row in kept] == drawn

    task = synth.score_tokens(model, TASK, progress=synth.SILENT)
    mixed = synth.mix(task, [(samples, 0.5)], progress=synth.SILENT)
    taken = [row["input_ids"] for row in mixed if row["method"] == "sample"]
    assert len(taken) == 4 and all(ids in drawn for ids in taken)
    with pytest.raises(synth.UsageError, match=r"has labels and .* none: score .* with the same model") as refused:
        synth.mix(TASK, [(samples, 0.5)])
    assert "`as`" not in str(refused.value), "their tokens cannot be left behind"


def test_a_base_model_needs_no_chat_template(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(MODEL, base)
    (base / "chat_template.jinja").unlink()
    samples = synth.sample(base, rows=4, length=24, output=tmp_path / "samples", progress=synth.SILENT)
    assert [row["input_ids"][0] for row in samples] == [1] * 4
    tuned = synth.train(samples, base, output=tmp_path / "tuned", steps=1, progress=synth.SILENT)
    assert tuned.steps == 1
    scored = synth.score_tokens(str(base), samples, output=tmp_path / "scored", progress=synth.SILENT)
    assert synth.train(scored, base, dry_run=True, progress=synth.SILENT).plan.sources[0].rows == 4
    (base / "generation_config.json").unlink()
    config = json.loads((base / "tokenizer_config.json").read_text())
    del config["bos_token"], config["eos_token"]
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(synth.UsageError, match="has neither a beginning-of-sequence nor an end-of-sequence token"):
        synth.sample(base, rows=4)
    started = synth.sample(base, rows=2, length=24, start="<|user|>", progress=synth.SILENT)
    assert len({row["input_ids"][0] for row in started}) == 1


def test_settings_that_cannot_work_are_named(model: synth.Model, tmp_path: Path) -> None:
    for settings, field in (
        ({"rows": 3, "length": 600}, "length"),
        ({"rows": 3, "temperature": 0}, "temperature"),
        ({"rows": 0}, "rows"),
        ({"rows": 3, "start": ""}, "start"),
    ):
        with pytest.raises(synth.UsageError) as wrong:
            synth.sample(model, **settings)
        assert wrong.value.field == field
    synth.sample(model, rows=2, length=8, output=tmp_path / "rows", progress=synth.SILENT)
    with pytest.raises(synth.UsageError, match="length: 8, now 9"):
        synth.sample(model, rows=2, length=9, output=tmp_path / "rows")
