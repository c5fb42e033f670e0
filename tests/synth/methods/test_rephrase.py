"""Documents cut into chunks, and chunks said again: by the sample model, and by one that says what a test wants."""

import asyncio
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synth.chat.format import ChatFormat
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_source
from synth.data.row import Outcome
from synth.engines.base import Engine, Sampling
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.documents import halves, open_documents, passages, whole_sentences
from synth.methods.copying import copied
from synth.methods.rephrase import (
    CHUNKS,
    COLUMNS,
    ORIGINAL,
    RephraseSettings,
    chunking,
    remark,
    rephrase,
    style_name,
    without_lead_in,
)
from tests.synth.methods.scripted import always

STORY = (
    "The river Swale rises in the hills of Lumeria. It runs past Leeds, where Otto sells rolls by the bridge. "
    "In 1984 a flood took the bridge away! Was it built again? Remy says that it was, within two years. "
)
CHUNK = "Otto sells 14 rolls on Monday, and 9 rolls on Tuesday. By Friday he has none left to sell."


def count(chat: ChatFormat, text: str) -> int:
    return len(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def tasks(path: Path, documents: list[dict[str, Any]], chat: ChatFormat, settings: RephraseSettings) -> PromptSet:
    file = path / "docs.jsonl"
    file.write_text("\n".join(map(json.dumps, documents)))
    return open_prompts(open_documents(open_source(str(file)), "text", CHUNKS, chunking(chat.tokenizer, settings)))


def run(loop: Any, tasks: PromptSet, method: Any) -> list[Outcome]:
    async def all_rows() -> list[Outcome]:
        return list(await asyncio.gather(*map(method, tasks.rows("rephrase", {}, COLUMNS)(0))))

    outcomes: list[Outcome] = loop.run(all_rows())
    return outcomes


@pytest.mark.parametrize("most", [10, 40, 300])
def test_passages_are_whole_sentences_and_nothing_is_lost(chat: ChatFormat, most: int) -> None:
    text = (STORY * 4).strip()
    found = list(passages(text, chat.tokenizer, most))
    assert " ".join(found) == text
    assert all(count(chat, passage) <= most + 1 for passage in found)  # a word's space may be a token of its own
    if most >= 40:
        assert all(passage.endswith((".", "!", "?")) for passage in found)


def test_a_text_with_half_of_a_character_is_to_be_rejected(tmp_path: Path, chat: ChatFormat) -> None:
    found = tasks(
        tmp_path, [{"id": "cut", "text": f"{CHUNK} \ud83d"}, {"id": "b", "text": CHUNK}], chat, RephraseSettings()
    )
    rows = list(found.rows("rephrase", {}, COLUMNS)(0))
    assert rows[0].parent == "cut" and rows[0].reference is None and rows[0].fault is not None
    assert rows[1:] and all(row.parent == "b" and row.fault is None for row in rows[1:])


def test_passages_of_odd_texts(chat: ChatFormat) -> None:
    assert list(passages("   ".strip(), chat.tokenizer, 20)) == []
    word = "x" * 20_000
    found = list(passages(word, chat.tokenizer, 300))
    assert "".join(found) == word and len(found) < 400
    river = "川は丘から流れる。橋がある。" * 30
    for text in (river, "🙂" * 500, "a\x00b\ud7ff " * 300, "1. " + "y" * 3000, ". " * 2000):
        found = list(passages(text.strip(), chat.tokenizer, 30))
        assert "".join("".join(found).split()) == "".join(text.split())
    chinese = list(passages(river, chat.tokenizer, 60))
    assert all(passage.endswith("。") for passage in chinese[:-1])


def test_passages_of_five_megabytes_come_one_by_one(chat: ChatFormat) -> None:
    for text in (STORY * 26_000, "x" * 5_000_000):
        few = list(islice(passages(text, chat.tokenizer, 300), 20))
        assert len(few) == 20 and text.startswith(few[0]) and all(count(chat, passage) <= 301 for passage in few)


def test_halves_and_whole_sentences() -> None:
    assert halves("One and two. Three and four.") == ("One and two.", "Three and four.")
    assert halves("one two three four") == ("one two", "three four")
    assert halves("onetwothree") is None
    assert whole_sentences("It is. It was, and") == "It is."
    assert whole_sentences("It is. It was.") == "It is. It was."
    assert whole_sentences("It is not") == ""


def test_copied_counts_runs() -> None:
    source = list(range(100))
    assert copied([], source) == 0
    assert copied(source[10:30], source) == 1
    assert copied(source[10:20] + [200] * 10, source) == 0.5
    assert copied(source[10:16] + [200] * 10, source) == 0
    assert copied([5, 6], source) == 1 and copied([6, 5], source) == 0


def test_chunks_come_once_in_each_style_and_by_chance_as_they_are(tmp_path: Path, chat: ChatFormat) -> None:
    documents = [{"id": f"d{n}", "text": f"{n} {STORY}", "chunk": "mine", "where": n} for n in range(200)]
    settings = RephraseSettings(
        3, (style_name("easy"), style_name("question-answer")), chunk_tokens=300, originals=0.25
    )
    source = tasks(tmp_path, documents, chat, settings)
    rows = list(source.rows("rephrase", {}, COLUMNS)(0))
    styles = Counter(row.passthrough["style"] for row in rows)
    assert styles["easy"] == styles["question-answer"] == 200
    assert 70 <= styles[ORIGINAL] <= 130  # 0.5 for each chunk
    assert rows[0].parent == "d0" and rows[0].passthrough["chunk"] == 0 and rows[0].passthrough["input_chunk"] == "mine"
    again = list(source.rows("rephrase", {}, COLUMNS)(150))
    assert [row.id for row in again] == [row.id for row in rows[150:]]
    other = tasks(tmp_path, documents, chat, RephraseSettings(4, settings.style, 300, 0.25))
    assert other.fingerprint != source.fingerprint
    assert len({row.id for row in rows}) == len(rows)


def test_the_sample_model_says_documents_again(
    tmp_path: Path, loop: Any, chat: ChatFormat, transformers_engine: Engine
) -> None:
    settings = RephraseSettings(0, (style_name("wikipedia"),), 40, 1.0, Sampling(max_tokens=60, temperature=1.0))
    documents: list[dict[str, Any]] = [{"text": STORY}] * 4
    documents += [{"text": ""}, {"text": None}, {"text": " \n "}]
    source = tasks(tmp_path, documents, chat, settings)
    outcomes = run(loop, source, rephrase(ChatModel(transformers_engine, chat, "sample"), settings))
    kept = [outcome.row for outcome in outcomes if outcome.reason is None]
    originals = [row for row in kept if row.passthrough["style"] == ORIGINAL]
    assert originals and all(row.extra["text"] == row.reference and row.method == "gold" for row in originals)
    for row in kept:
        assert row.messages == [] and row.extra["text"] and row.extra["tokens"] == count(chat, row.extra["text"])
    assert sum(outcome.reason == "empty document" for outcome in outcomes) == 3
    batch = pa.RecordBatch.from_pylist([row.record() for row in kept], schema=source.schema(COLUMNS))
    assert batch.num_rows == len(kept)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("By the week's end Otto's rolls are gone: 14 went on the first day, 9 on the next.", None),
        ("Here is a paraphrase of the text:\n\nFirst 14, then 9 rolls go; by Friday Otto is out of rolls.", None),
        ("", "empty"),
        ("Here is the rephrased text:\n", "empty"),
        (CHUNK, "copy: "),
        (f"Sure! Here's the text:\n{CHUNK}", "copy: "),
        ("Rolls.", "too short: "),
        (
            "Then 14 rolls and 9 more go. " + "".join(f"Day {n} has its own {n * 7}. " for n in range(30)),
            "too long: ",
        ),
        ("I have rephrased it so. First 14, then 9 rolls go; on Friday Otto has run out.", "talks about the task"),
        ("First 14, then 9 rolls go; on Friday Otto is out.\n\nLet me know if that helps!", "ends with a remark"),
        ("First 14, then 9 rolls go; on Friday Otto is out. " * 8, "repetition"),
        ("First 14, then 9 rolls go <|user|> on Friday Otto is out", "template debris"),
        ("First 14, then 9 rolls go; on Friday \ufffd is out of rolls.", "broken text"),
        ("word " * 900, "cut off"),
    ],
)
def test_what_is_rejected(tmp_path: Path, loop: Any, chat: ChatFormat, said: str, reason: str | None) -> None:
    settings = RephraseSettings(sampling=Sampling(max_tokens=800))
    source = tasks(tmp_path, [{"text": CHUNK}], chat, settings)
    [outcome] = run(loop, source, rephrase(always(chat, said), settings))
    assert (outcome.reason or "").startswith(reason or "") and (outcome.reason is None) == (reason is None)
    if reason is None:
        assert outcome.row.extra["text"] == said.split("\n\n")[-1]


def test_lead_ins() -> None:
    for lead in (
        "Here is a paraphrase:\n",
        "Sure! Here's the text in an easy style:\n\n",
        "Certainly, below it is:\n",
        "**Rephrased text:** ",
        "The following is the simplified text: ",
    ):
        assert without_lead_in(f"{lead}Otto sells: rolls.") == "Otto sells: rolls."
    for text in (
        "Here is Otto, who sells rolls.",
        "Question: What does Otto sell?\nAnswer: Rolls.",
        "Otto sells: rolls.",
    ):
        assert without_lead_in(text) == text
    assert remark("The original bridge is gone.", "The original bridge was lost.") is None
    hostile = "sure " * 200_000
    assert without_lead_in(hostile) == hostile.strip()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk_tokens": 5}, "`chunk_tokens` must be at least 10"),
        ({"style": ("rephrase-easy", "rephrase-easy")}, "name each style once"),
        ({"originals": 1.5}, "1:1 takes them all"),
        ({"style": ("rephrase-easy", "rephrase-hard"), "originals": 1.0}, "asks for 2 originals of each chunk"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RephraseSettings(**settings)
