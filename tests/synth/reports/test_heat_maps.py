"""Which rows have a heat map, and its cells."""

from pathlib import Path

import numpy as np

from synth.chat.format import ChatFormat
from synth.data.read import open_rows
from synth.data.row import PREDICTIONS
from synth.reports.heat_maps import choose, cut, evenly, heat_map, level
from synth.scoring.cells import cells
from tests.synth.reports.pages import built, scanned, scored_row, talk, tokens, write


def test_groups_answer_one_prompt_or_have_one_parent(tmp_path: Path) -> None:
    one = tokens([1, 2], [None, -1.0])
    human = [{"id": f"h{at}", "messages": talk(f"q{at}", "x")} | one for at in range(6)]
    own = [
        {"id": "a", "messages": talk("q4", "y"), "method": "self-output"} | one,
        {"id": "a2", "messages": talk("q4", "another"), "method": "self-output"} | one,
        {"id": "b", "parent": "h2", "messages": talk("q2, but longer", "y"), "method": "self-output"} | one,
        {"id": "c", "parent": "c", "messages": talk("alone", "y"), "method": "self-output"} | one,
        {"id": "d", "messages": talk("q5", "not scored"), "method": "self-output"} | tokens([1], [None]),
    ]
    scans = [scanned(write(tmp_path / name, rows, scored=True)) for name, rows in (("h", human), ("o", own))]
    choice = choose(scans, 4)
    assert choice.groups == 7
    assert choice.chosen[:2] == [[(0, 2), (1, 2)], [(0, 4), (1, 0), (1, 1)]]  # those of two data sets
    assert [len(group) for group in choice.chosen] == [2, 3, 1, 1]
    scans[1].rejected = True
    assert choose(scans).groups == 6
    assert choose([]).groups == 0


def test_of_one_prompt_every_answer_has_a_heat_map(tmp_path: Path) -> None:
    """Eight samples of one method beside a human's; the first of each data set and method come first."""
    one = tokens([1, 2], [None, -1.0])
    human = [{"id": "h", "messages": talk("q", "x")} | one]
    own = [{"id": f"o{at}", "messages": talk("q", f"y{at}"), "method": "magpie"} | one for at in range(8)]
    own.insert(4, {"id": "p", "messages": talk("q", "z"), "method": "paraphrase"} | one)
    scans = [scanned(write(tmp_path / name, rows, scored=True)) for name, rows in (("h", human), ("o", own))]
    (group,) = choose(scans).chosen
    assert group[:3] == [(0, 0), (1, 0), (1, 4)]
    assert group[3:] == [(1, 1), (1, 2), (1, 3), (1, 5), (1, 6), (1, 7), (1, 8)]


def test_evenly_and_level() -> None:
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly(3, 9).tolist() == [0, 1, 2] and evenly(0, 9).tolist() == []
    assert level(np.array([1, 10, 100]), 31) == 20  # 1 + 10 + 20
    assert level(np.array([5, 5]), 100) == 5 and level(np.array([], np.int64), 9) == 0
    kept, was_cut = cut([("user", "a" * 10), ("assistant", "b" * 100)], 30)
    assert was_cut and [len(content) for _, content in kept] == [10, 20]
    assert cut([("user", "ab")], 30) == ([("user", "ab")], False)


def test_cells_spell_the_decoded_text(chat: ChatFormat) -> None:
    encoded = chat.encode(talk("What is 2+2?", "  Ünïcode 日本 🙂\n\tdone."))
    found = cells(chat.tokenizer, encoded.input_ids)
    assert "".join(cell.text for cell in found) == encoded.text
    assert sum(cell.tokens for cell in found) == len(encoded.input_ids)
    assert {"日", "🙂"} <= {cell.text.strip() for cell in found} and not any("\ufffd" in cell.text for cell in found)
    assert [cell.text for cell in found if cell.special][:2] == ["<bos>", "<|user|>"]


def test_cells_of_broken_characters_and_foreign_ids(chat: ChatFormat) -> None:
    emoji = chat.tokenizer("🙂", add_special_tokens=False)["input_ids"]
    broken = [*emoji[:-1], 2, *emoji[:-2], 10**6, -1]
    found = cells(chat.tokenizer, broken)
    assert sum(cell.tokens for cell in found) == len(broken) and all(cell.text for cell in found)
    assert [cell.text for cell in found][-2:] == ["<token 1000000>", "<token -1>"]


def test_heat_map_of_a_row(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    source = write(tmp_path / "d", [scored_row(chat, model, "Why 日?", "Because 日 is.", 1)], scored=True)
    [batch] = open_rows(source).batches()
    found = heat_map(batch, chat.tokenizer)
    assert len(found["t"]) == len(found["k"]) == len(found["l"])
    first = next(at for at, value in enumerate(found["l"]) if value is not None)
    assert found["lead"] == first and set(found["k"][:first]) <= {0, 4}
    assert sum(kind & 3 == 2 for kind in found["k"]) == 1
    assert any(isinstance(value, list) and len(value) > 1 for value in found["l"])  # 日 is several tokens


def test_a_heat_map_tells_entropies_and_ranks(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    row = scored_row(chat, model, "Why 日?", "Because 日 is.", 1)
    scored = [value is not None for value in row["logprobs"]]
    figures = {
        "entropies": [0.5 + at if there else None for at, there in enumerate(scored)],
        "ranks": [1 + at if there else None for at, there in enumerate(scored)],
    }
    place = write(tmp_path / "d", [row | figures, row], *PREDICTIONS, scored=True)
    page, _ = built(tmp_path, place)
    with_them, without = [version for group in page.block("heat-data") for version in group["v"]]
    flat = [
        pair
        for entropies, ranks in zip(with_them["e"], with_them["r"], strict=True)
        for pair in (zip(entropies, ranks, strict=True) if isinstance(ranks, list) else [(entropies, ranks)])
    ]
    assert [pair for pair in flat if pair != (None, None)] == [
        (0.5 + at, 1 + at) for at, there in enumerate(scored) if there
    ]
    assert len(with_them["e"]) == len(with_them["l"]) and "e" not in without and "r" not in without


def test_all_heat_maps_are_within_reach(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    rows = [scored_row(chat, model, f"Question {at}?", "It is so.", at) for at in range(60)]
    page, _ = built(tmp_path, write(tmp_path / "human", rows, scored=True))
    assert len(page.block("heat-data")) == 60 and "60 of 60 prompts" in page.words
