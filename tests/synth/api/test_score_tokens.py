"""`synth.score_tokens`."""

import json
import math
import signal
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import synth
from synth.scoring import token_scores
from synth.scoring.masks import Mask
from synth.values import Over
from tests.conftest import MODEL


def sums(count: int) -> list[dict[str, Any]]:
    """Conversations in memory."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is {number} + {number}?"},
                {"role": "assistant", "content": f"{number} + {number} = {2 * number}. The answer is {2 * number}."},
            ],
            "level": number % 3,
        }
        for number in range(count)
    ]


def test_rows_in_memory_are_scored_and_masked(model: synth.Model) -> None:
    rows = list(synth.score_tokens(model, sums(12), mask_above=1.5, protect="end-of-turn", progress=synth.SILENT))
    assert [row["level"] for row in rows] == [row["level"] for row in sums(12)]
    masked = 0
    for row in rows:
        assert len(row["input_ids"]) == len(row["labels"]) == len(row["logprobs"])
        end = max(place for place, value in enumerate(row["logprobs"]) if value is not None)
        for place, (token, label, logprob) in enumerate(
            zip(row["input_ids"], row["labels"], row["logprobs"], strict=True)
        ):
            hard = logprob is not None and logprob < -math.log(1.5) and place != end
            assert label == (-100 if logprob is None or hard else token)
            masked += hard
    assert masked


def test_scored_once_then_masks_are_chosen_without_a_model(
    model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = synth.score_tokens(model, sums(10), output=tmp_path / "scored", progress=synth.SILENT)

    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("synth.api.score_tokens.open_scorer", no_model)
    preview = synth.score_tokens(MODEL, scored, mask_hardest=0.25, preview=True, progress=synth.SILENT)
    masked = synth.score_tokens(MODEL, scored, mask_hardest=0.25, output=tmp_path / "masked", progress=synth.SILENT)
    assert preview.rows == len(scored) == 10 and masked.record is not None
    [effect] = [effect for effect in preview.effects if effect.mask == Mask(hardest=0.25)]
    assert effect.masked == masked.record.tokens["masked"] > 0
    assert preview.tokens == masked.record.tokens["scored"] == effect.masked + effect.left


def test_the_weights_of_a_model_that_runs_serve_here_too(
    model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = list(synth.score_tokens(MODEL, sums(3), progress=synth.SILENT))
    synth.magpie(model, rows=1, max_tokens=64, progress=synth.SILENT)
    assert model.running is not None
    monkeypatch.setattr("synth.engines.hf.engine.load_model", lambda *_: pytest.fail("loaded once more"))
    assert list(synth.score_tokens(model, sums(3), progress=synth.SILENT)) == fresh
    synth.magpie(model, rows=1, max_tokens=64, seed=1, progress=synth.SILENT)


class _Interrupted(synth.Progress):
    """Interrupts the process when the first block of rows is done."""

    def meter(self, title: str, unit: str = "rows") -> Any:
        class Meter:
            def show(self, done: int, goal: int | None, text: str) -> None:
                if text and not asked:
                    asked.append(done)
                    signal.raise_signal(signal.SIGINT)

            def __enter__(self) -> "Meter":
                return self

            def __exit__(self, *_: object) -> None: ...

        asked: list[int] = []
        return Meter()


@pytest.mark.parametrize(
    ("over", "more"), [("row", {}), ("corpus", {"mask_confident_conflicts": 0.4, "mask_random": True})]
)
def test_a_run_that_was_stopped_is_gone_on_with(
    model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: Any, more: dict[str, Any]
) -> None:
    monkeypatch.setattr(token_scores, "BLOCK_ROWS", 16)
    settings: dict[str, Any] = {"mask_hardest": 0.2, "mask_over": over, **more}
    rows = [*sums(60), {"messages": [{"role": "user", "content": "And?"}], "level": 0}]
    whole = synth.score_tokens(model, rows, **settings, progress=synth.SILENT)
    place = tmp_path / "out"
    stops = 0
    for _ in range(9):
        try:
            parts = synth.score_tokens(model, rows, **settings, output=place, progress=_Interrupted(quiet=True))
        except synth.Stopped as stopped:
            assert "run this again" in str(stopped)
            assert not (place / "run.json").exists()
            stops += 1
            continue
        break
    assert stops >= 2 and list(parts.to_dataset()["labels"]) == list(whole.to_dataset()["labels"])
    assert ("ranks" in parts.to_dataset().column_names) == bool(more)
    assert len(parts) == 60 and parts.rejected is not None and len(parts.rejected) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "what was scored first is removed"
    with pytest.raises(synth.UsageError, match="other settings"):
        synth.score_tokens(model, rows, mask_hardest=0.3, mask_over=over, output=place, progress=synth.SILENT)


def test_a_mask_over_all_rows_keeps_columns_of_every_type(model: synth.Model, tmp_path: Path) -> None:
    rows = sums(6)
    table = pa.table(
        {
            "messages": [row["messages"] for row in rows],
            "labels": ["good", "bad", None] * 2,
            "reason": pa.array([f"because {n}" for n in range(6)], pa.large_string()),
            "day": [date(2024, 5, n + 1) for n in range(6)],
            "nothing": pa.nulls(6),
            "kind": pa.array(["a", "b", "a"] * 2).dictionary_encode(),
            "tiny": pa.array(range(6), pa.int8()),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    out: dict[str, synth.Dataset] = {}
    overs: list[Over] = ["row", "corpus"]
    for over in overs:
        out[over] = synth.score_tokens(
            model,
            tmp_path / "in.parquet",
            mask_hardest=0.5,
            mask_over=over,
            output=tmp_path / over,
            progress=synth.SILENT,
        )
    by_row, by_corpus = (list(out[over]) for over in ("row", "corpus"))
    same = by_row[0].keys() - {"labels"}
    assert [{name: row[name] for name in same} for row in by_row] == [
        {name: row[name] for name in same} for row in by_corpus
    ]
    assert [row["input_labels"] for row in by_corpus] == ["good", "bad", None] * 2
    assert [row["day"] for row in by_corpus] == [date(2024, 5, n + 1) for n in range(6)]
    assert out["row"].to_dataset().features == out["corpus"].to_dataset().features


def test_plain_texts_of_a_base_model(tmp_path: Path) -> None:
    """A model without a chat template scores texts, and no conversations."""
    for file in Path(MODEL).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "chat_template"}))
    texts = [{"body": "2 + 2 = 4."}, {"body": ""}]
    scored = synth.score_tokens(str(tmp_path), texts, text_column="body", progress=synth.SILENT)
    [row] = scored
    assert row["logprobs"][0] is None and None not in row["logprobs"][1:]
    assert scored.rejected is not None and [row["reason"] for row in scored.rejected] == ["empty text"]
    with pytest.raises(synth.UsageError, match="no chat template"):
        synth.score_tokens(str(tmp_path), sums(2), progress=synth.SILENT)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"mask_above": 2.5, "mask_hardest": 0.2}, "mask_above"),
        ({"mask_random": True}, "mask_random"),
        ({"mask_random": True, "mask_easiest": True, "mask_above": 2}, "mask_easiest"),
        ({"mask_over": "rows"}, "mask_over"),
        ({"train_on": "user"}, "train_on"),
        ({"overlong": "keep"}, "overlong"),
        ({"protect": ["answers"]}, "protect"),
        ({"protect": "answer"}, "protect"),
        ({"scorer": "./none"}, "model"),
    ],
)
def test_settings_that_cannot_work_are_named(model: synth.Model, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.score_tokens(model, sums(2), **settings, progress=synth.SILENT)
    assert wrong.value.field == field


def test_vllm_in_process_is_refused() -> None:
    with pytest.raises(synth.UsageError, match="vllm in process does not score texts") as wrong:
        synth.score_tokens(synth.load(MODEL, engine="vllm"), sums(2))
    assert wrong.value.field == "engine"


def test_an_engine_of_a_users_own_scores(model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scoring_engines.py").write_text(
        "from synth.engines.hf.engine import open_transformers\n"
        "async def opened(model, tokenizer, options):\n"
        "    open(f'{__file__}.opened', 'w').close()\n"
        "    return await open_transformers(model, tokenizer, options)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with synth.load(MODEL, engine="scoring_engines:opened", device="cpu") as own:
        rows = synth.score_tokens(own, sums(4), progress=synth.SILENT)
    assert (tmp_path / "scoring_engines.py.opened").exists()
    assert rows.record is not None and rows.record.settings["engine"] == "scoring_engines:opened"
    theirs = [row["logprobs"] for row in synth.score_tokens(model, sums(4), progress=synth.SILENT)]
    for row, expected in zip(rows, theirs, strict=True):
        assert row["logprobs"] == pytest.approx(expected, abs=1e-4)
