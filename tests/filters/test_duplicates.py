"""Duplicates: against Jaccard indices counted pair by pair, in order, in chains and on odd input."""

import random
import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from filters.duplicates import SHINGLE_WORDS, exact_duplicates, near_duplicates
from filters.minhash import bands
from filters.semantic_duplicates import semantic_duplicates


def frame(texts: Sequence[str | None], prefix: str = "r") -> pl.DataFrame:
    rows = {"id": [f"{prefix}{number}" for number in range(len(texts))], "text": texts}
    return pl.DataFrame(rows, schema={"id": pl.String, "text": pl.String})


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


def planted(rows: int, seed: int = 0) -> list[str]:
    """Texts of 8 to 120 words, of which every fifth is an earlier one with 1 to 12 words changed."""
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(3000)]
    texts: list[str] = []
    for number in range(rows):
        if number % 5 == 4:
            text = chance.choice(texts).split()
            for _ in range(chance.randint(1, 12)):
                text[chance.randrange(len(text))] = chance.choice(words)
        else:
            text = chance.choices(words, k=chance.randint(8, 120))
        texts.append(" ".join(text))
    return texts


def greedy(texts: list[str], threshold: float) -> set[int]:
    """The rows that fall when every row is compared with every earlier row that stays."""
    sets = [shingles(text) for text in texts]
    stays: dict[tuple[str, ...], list[int]] = {}
    fallen = set()
    for row, mine in enumerate(sets):
        near = {other for shingle in mine for other in stays.get(shingle, [])}
        if any(jaccard(mine, sets[other]) >= threshold for other in near):
            fallen.add(row)
        else:
            for shingle in mine:
                stays.setdefault(shingle, []).append(row)
    return fallen


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_near_duplicates_are_those_of_every_pair(threshold: float) -> None:
    texts = planted(4000)
    truth = greedy(texts, threshold)
    reasons = near_duplicates(frame(texts), threshold=threshold)
    found = {row for row, reason in enumerate(reasons) if reason is not None}
    assert len(truth) > 40
    assert len(found & truth) / len(truth) >= 0.95
    assert len(found & truth) / len(found) >= 0.98


def test_near_duplicates_among_rows_of_one_template() -> None:
    chance = random.Random(0)
    words = [f"w{number}" for number in range(3000)]
    template = " ".join(chance.choices(words, k=24))
    texts = [f"{template} {' '.join(chance.choices(words, k=12))}" for _ in range(600)]
    texts += [text.rsplit(" ", 1)[0] + " changed" for text in texts[::6]]
    truth = greedy(texts, 0.8)
    found = {row for row, reason in enumerate(near_duplicates(frame(texts), threshold=0.8)) if reason is not None}
    assert truth == set(range(600, 700))
    assert found <= truth
    assert len(found) >= 95


def test_the_reason_names_the_twin_and_its_similarity() -> None:
    texts = planted(1000)
    fallen = set()
    for row, reason in enumerate(near_duplicates(frame(texts))):
        if reason is not None:
            name, similarity = reason.removeprefix("near duplicate: of r").split(", similarity ")
            assert int(name) < row
            assert int(name) not in fallen
            index = jaccard(shingles(texts[row]), shingles(texts[int(name)]))
            assert index >= 0.7
            assert f"{index:.2f}" == similarity
            fallen.add(row)
    assert fallen


def test_a_chain_is_compared_with_rows_that_stay() -> None:
    words = [f"a{number}" for number in range(60)]
    chain = [" ".join([*(f"b{number}" for number in range(changed)), *words[changed:]]) for changed in (0, 8, 16, 24)]
    reasons = near_duplicates(frame(chain))
    assert [reason is None for reason in reasons] == [True, False, True, False]
    assert reasons[3] == f"near duplicate: of r2, similarity {jaccard(shingles(chain[2]), shingles(chain[3])):.2f}"


def test_a_sum_with_another_sign_is_no_duplicate() -> None:
    texts = [f"What is 3 {sign} 4?" for sign in "+-*/"] + ["Find x - y", "Find x + y"]
    assert near_duplicates(frame(texts)).null_count() == len(texts)
    assert exact_duplicates(frame(texts)).null_count() == len(texts)


def test_near_duplicates_of_short_and_unspaced_texts() -> None:
    texts = [
        "Yes.",
        "yes",
        "No",
        "Yes, sir",
        "你好,请把这句话翻译成英文。",
        "你好!请把这句话翻译成英文",
        "请写一首关于大海的诗",
    ]
    fallen = [row for row, reason in enumerate(near_duplicates(frame(texts))) if reason is not None]
    assert fallen == [1, 5]


def test_against_another_frame() -> None:
    texts = planted(400)
    target = frame([texts[3].upper() + "!", texts[3], "something else that is long enough", None, ""], "t")
    reasons = near_duplicates(frame([texts[0], texts[3], texts[3], texts[5], None]), against=target)
    twin = "near duplicate: of t0, similarity 1.00"
    assert reasons.to_list() == [None, twin, twin, None, None]
    reasons = near_duplicates(frame([texts[0], texts[0]]), against=target)
    assert reasons.null_count() == 2
    assert near_duplicates(frame([texts[0]]), against=target.clear()).null_count() == 1
    assert len(near_duplicates(frame([]), against=target)) == 0


def test_exactly_and_in_meaning_against_another_frame() -> None:
    target = frame(["Hello, World!", None, "", "\U0001f44d", "the end"], "t")
    rows = frame(["hello world", "hello there", "hello there", None, "", "\U0001f44d!", "the end", "the end"])
    twins = {0: 0, 6: 4, 7: 4}
    expected = [f"exact duplicate: of t{twins[row]}" if row in twins else None for row in range(8)]
    expected[5] = None  # with a punctuation mark it is another text without words
    assert exact_duplicates(rows, against=target).to_list() == expected
    assert exact_duplicates(rows, against=target.clear()).null_count() == 8
    rng = np.random.default_rng(5)
    theirs = rng.normal(size=(9000, 8))  # more than are compared with at once
    theirs[3] = 0
    ours = np.stack([theirs[8999] * 7, -theirs[1], theirs[3], theirs[1] * 2, theirs[1] * 3])
    others = pl.DataFrame({"id": [f"t{number}" for number in range(9000)]})
    reasons = semantic_duplicates(frame(["x"] * 5), ours, 0.9999, against=(others, theirs)).to_list()
    twin = "semantic duplicate: of t1, cosine 1.00"
    assert reasons == ["semantic duplicate: of t8999, cosine 1.00", None, None, twin, twin]
    nobody = semantic_duplicates(frame(["x"] * 5), ours, 0.1, against=(others.clear(), theirs[:0]))
    assert nobody.null_count() == 5
    with pytest.raises(ValueError, match="shape"):
        semantic_duplicates(frame(["x"] * 5), ours, 0.1, against=(others, theirs[:4]))


def test_the_width_of_shingles() -> None:
    """One word of ten changed, in the middle: of 8 triples 5 are shared, of 10 words 9."""
    words = [f"w{number}" for number in range(10)]
    texts = [" ".join(words), " ".join([*words[:5], "other", *words[6:]])]
    for n, similarity in ((1, 9 / 11), (2, 7 / 11), (3, 5 / 11), (5, 1 / 11)):
        reasons = near_duplicates(frame(texts), threshold=similarity - 0.001, n=n)
        assert reasons[1] == f"near duplicate: of r0, similarity {similarity:.2f}"
        assert near_duplicates(frame(texts), threshold=similarity + 0.001, n=n).null_count() == 2
    with pytest.raises(ValueError, match="at least one word"):
        near_duplicates(frame(texts), n=0)


def test_exact_duplicates() -> None:
    texts = ["Hello, World!", " hello\n— world ", "HELLO WORLD", "hello word", "world hello", None, "", None]
    texts += ["\U0001f44d", "\U0001f44e", "\U0001f44d ", "ﬁne", "fine.", "a b", "ab"]
    twins = {1: 0, 2: 0, 10: 8, 12: 11}
    expected = [f"exact duplicate: of r{twins[row]}" if row in twins else None for row in range(len(texts))]
    assert exact_duplicates(frame(texts)).to_list() == expected


def test_semantic_duplicates_match_every_pair() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1500, 32))
    near = base[rng.integers(0, 1500, 1500)] + rng.normal(size=(1500, 32)) * rng.uniform(0, 0.5, (1500, 1))
    points = np.concatenate([base, near])[rng.permutation(3000)] * rng.uniform(0.1, 9, (3000, 1))
    points[7], points[8] = 0, np.nan
    units = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    stays: list[int] = []
    twins: dict[int, int] = {}
    for row in range(3000):
        cosines = units[stays] @ units[row]
        if len(stays) and np.nanmax(cosines, initial=-1) >= 0.9:
            twins[row] = stays[int(np.nanargmax(cosines))]
        elif row not in (7, 8):
            stays.append(row)
    reasons = semantic_duplicates(frame(["x"] * 3000), points, 0.9)
    found = {row: int(reason.split()[3][1:-1]) for row, reason in enumerate(reasons) if reason is not None}
    assert len(twins) > 500
    assert found == twins
    assert reasons[min(twins)].startswith(f"semantic duplicate: of r{twins[min(twins)]}, cosine 0.9")


def test_equal_embeddings_are_duplicates_at_cosine_one() -> None:
    points = np.random.default_rng(1).normal(size=(1, 300)).repeat(3000, axis=0)
    assert semantic_duplicates(frame(["x"] * 3000), points, 1.0).null_count() == 1


ODD = [None, "", " ", "\x00", "�" * 40, "\u202e\u200d", "!!!", "á́́́" * 50, "ไทย ภาษา", "🏳️‍🌈" * 9, "a", "ab " * 9]


@pytest.mark.parametrize("texts", [[], [None], ["one row"], [None] * 5, [""] * 5, ODD, ODD * 3])
def test_odd_input(texts: list[str | None]) -> None:
    for reasons in (
        exact_duplicates(frame(texts)),
        near_duplicates(frame(texts)),
        near_duplicates(frame(texts), against=frame(ODD)),
        semantic_duplicates(frame(texts), np.zeros((len(texts), 4))),
    ):
        assert len(reasons) == len(texts)
        assert reasons.dtype == pl.String()


def test_a_row_without_id_is_named_by_its_number_and_a_long_id_is_cut() -> None:
    rows = pl.DataFrame({"id": [None, "b", "x" * 1000, "d"], "text": ["one two", "one two", "three", "three"]})
    assert exact_duplicates(rows).to_list() == [
        None, "exact duplicate: of row 0", None, f"exact duplicate: of {'x' * 80}"
    ]  # fmt: skip


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_wrong_thresholds(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(frame(["x"]), threshold=threshold)
    with pytest.raises(ValueError, match="threshold"):
        semantic_duplicates(frame(["x"]), np.ones((1, 2)), threshold)
    with pytest.raises(ValueError, match="shape"):
        semantic_duplicates(frame(["x"]), np.ones((2, 2)))


def test_bands_find_pairs_at_the_threshold() -> None:
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.95):
        count, width = bands(threshold)
        assert count * width <= 128
        assert 1 - (1 - threshold**width) ** count >= 0.98


@pytest.mark.parametrize("kind", ["equal", "one template", "pairs below the threshold", "long"])
def test_no_input_takes_a_square_of_its_rows(kind: str) -> None:
    chance = random.Random(0)
    words = [f"w{number}" for number in range(50_000)]
    shared = " ".join(words[:34])
    texts = {
        "equal": ["the same words in every row"] * 100_000,
        "one template": [f"{shared} {shared} {number}" for number in range(20_000)],
        "pairs below the threshold": [f"{shared} {' '.join(chance.choices(words, k=8))}" for _ in range(20_000)],
        "long": [" ".join(chance.choices(words, k=800_000)) for _ in range(2)] + ["short"] * 100,
    }[kind]
    begin = time.process_time()
    near_duplicates(frame(texts))
    exact_duplicates(frame(texts))
    assert time.process_time() - begin < 120
