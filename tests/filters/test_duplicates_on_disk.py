"""Duplicates of more rows than memory holds: what is found some rows at a time is what a search in memory finds."""

import random
import subprocess
import sys
from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from filters import minhash, twins
from filters.duplicates import SHINGLE_WORDS, ExactDuplicates, NearDuplicates, exact_duplicates, near_duplicates
from filters.minhash import band_keys, bands, shingle_sets
from filters.spill import Ragged, SpillError, Texts
from filters.words import split
from tests.filters.test_duplicates import frame, planted


def odd(rows: int, seed: int) -> list[str | None]:
    """Texts with planted duplicates, some of one template, some the same, some empty."""
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(400)]
    template = " ".join(chance.choices(words, k=30))
    texts: list[str | None] = [*planted(rows, seed)]
    texts += [f"{template} {' '.join(chance.choices(words, k=chance.randint(1, 14)))}" for _ in range(rows // 2)]
    texts += [chance.choice(texts) for _ in range(rows // 4)] + [None, "", "!?"] * 3
    chance.shuffle(texts)
    return texts


def in_memory(texts: list[str | None], threshold: float, seeds: int = 0) -> dict[int, tuple[int, float]]:
    """The row that each row falls to, and their index: rows one by one, buckets in a dict, sets in Python.

    With `seeds`, rows behind so many are compared with these alone.
    """
    count, width = bands(threshold)
    factors = np.random.default_rng(0).integers(0, 1 << 63, count * width, np.uint64) * np.uint64(2) + np.uint64(1)
    sets: list[frozenset[int]] = []
    keys: list[list[int]] = []
    for piece in split(pl.Series(texts, dtype=pl.String), operators=True):
        hashes, lengths = shingle_sets(piece, SHINGLE_WORDS)
        ends = np.cumsum(lengths)
        sets += [frozenset(hashes[end - size : end].tolist()) for end, size in zip(ends, lengths, strict=True)]
        keys += band_keys(hashes, lengths, factors.reshape(count, width)).T.tolist()
    first: dict[frozenset[int], int] = {}
    leading = [row for row, mine in enumerate(sets) if mine and first.setdefault(mine, row) == row]
    sizes: defaultdict[tuple[int, int], int] = defaultdict(int)
    for row in leading:
        for bucket in enumerate(keys[row]):
            sizes[bucket] += 1
    stay: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    found: dict[int, tuple[int, float]] = {}
    for row in leading:
        buckets = [bucket for bucket in enumerate(keys[row]) if sizes[bucket] > 1]
        if row >= seeds:
            others = sorted({other for bucket in buckets for other in stay[bucket][:32]})
            alike = [len(sets[row] & sets[other]) / len(sets[row] | sets[other]) for other in others]
            if alike and max(alike) >= threshold:
                found[row] = others[alike.index(max(alike))], max(alike)
                continue
        if row < seeds or not seeds:
            for bucket in buckets:
                stay[bucket].append(row)
    for row, mine in enumerate(sets):
        if mine and (leader := first[mine]) != row and row >= seeds:
            if leader in found:
                found[row] = found[leader]
            elif leader < seeds or not seeds:
                found[row] = leader, 1.0
    return found


def reasons_of(found: dict[int, tuple[int, float]], names: list[str], seeds: int = 0) -> list[str | None]:
    return [
        f"near duplicate: of {names[found[row][0]]}, similarity {found[row][1]:.2f}" if row in found else None
        for row in range(seeds, len(names))
    ]


@pytest.fixture(params=[(19, 1 << 22), (3, 64), (8, 1000)], ids=["whole", "tiny", "small"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows, and keys, are in memory at a time."""
    monkeypatch.setattr(twins, "RANGE_BITS", request.param[0])
    monkeypatch.setattr(minhash, "SORTED_ROWS", request.param[1])


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("threshold", [0.4, 0.7, 1.0])
def test_near_duplicates_are_those_found_in_memory(threshold: float) -> None:
    texts = odd(600, seed=1)
    rows = frame(texts)
    expected = reasons_of(in_memory(texts, threshold), rows["id"].to_list())
    assert len([reason for reason in expected if reason]) > 100
    duplicates = NearDuplicates(threshold=threshold)
    for first in range(0, len(rows), 130):
        duplicates.add(rows[first : first + 130])
    assert pl.concat(duplicates.reasons()).to_list() == expected
    assert near_duplicates(rows, threshold=threshold).to_list() == expected


@pytest.mark.usefixtures("pieces")
def test_rows_near_to_another_set_are_those_found_in_memory() -> None:
    texts = odd(300, seed=2)
    others = [*odd(100, seed=3), *texts[:40]]
    theirs, rows = frame(others, "o"), frame(texts)
    names = [*theirs["id"], *rows["id"]]
    expected = reasons_of(in_memory([*others, *texts], 0.7, len(others)), names, len(others))
    assert len([reason for reason in expected if reason]) > 40
    duplicates = NearDuplicates(against=(theirs[first : first + 30] for first in range(0, len(theirs), 30)))
    for first in range(0, len(rows), 100):
        duplicates.add(rows[first : first + 100])
    assert pl.concat(duplicates.reasons()).to_list() == expected


@pytest.mark.usefixtures("pieces")
def test_exact_duplicates_are_the_same_some_at_a_time() -> None:
    texts = odd(400, seed=4)
    rows = frame(texts)
    first: dict[str, int] = {}
    for number, text in enumerate(texts):
        first.setdefault(text or "", number)
    expected = [
        f"exact duplicate: of r{first[text]}" if text and first[text] != number else None
        for number, text in enumerate(texts)
    ]
    duplicates = ExactDuplicates()
    for at in range(0, len(rows), 77):
        duplicates.add(rows[at : at + 77])
    assert pl.concat(duplicates.reasons()).to_list() == expected == exact_duplicates(rows).to_list()


def test_rows_without_an_id_are_numbered_through() -> None:
    rows = frame(["one two three"] * 5).with_columns(pl.lit(None, pl.String).alias("id"))
    duplicates = ExactDuplicates(against=[frame(["something else"])])
    duplicates.add(rows[:2])
    near = NearDuplicates()
    near.add(rows[:2].with_columns(pl.Series("text", ["four five", "six seven"])))
    near.add(rows[2:])
    assert pl.concat(duplicates.reasons()).null_count() == 2
    assert pl.concat(near.reasons())[-1] == "near duplicate: of row 2, similarity 1.00"


def test_what_lies_on_disk_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.spill._MAPPED", 64)  # pages are given back all the time
    lengths = np.array([3, 0, 1, 0, 5])
    ragged = Ragged(np.uint64)
    for start in (0, 9):
        ragged.add(np.arange(start, start + 9, dtype=np.uint64), lengths)
    assert ragged.read(np.array([9, 0, 3, 2])).tolist() == [13, 14, 15, 16, 17, 0, 1, 2, 3]
    assert not len(ragged.read(np.array([1, 3]))) and not len(ragged.read(np.zeros(0, np.int64)))
    texts = Texts()
    texts.add(["é", "", "two"])
    texts.add([])
    texts.add(["🏳️‍🌈"])
    assert texts.read(np.array([3, 1, 0])) == ["🏳️‍🌈", "", "é"] and len(texts) == 4


def test_no_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, **_: object) -> None: ...

        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(SpillError, match=r"No space left on device.*TMPDIR"):
        exact_duplicates(frame(["one", "one"]))


MEASURED = """
import resource, sys
import numpy as np, polars as pl
from filters import minhash, twins
from filters.duplicates import NearDuplicates
twins.RANGE_BITS, minhash.SORTED_ROWS = 14, 1 << 14
chance = np.random.default_rng(0)
words = np.array([f"w{number}" for number in range(20_000)])
def rows(count):
    drawn = words[chance.integers(0, 20_000, (count, 8))]
    drawn[count // 2:, :] = drawn[: count - count // 2]  # the later half repeats the earlier, all but a word of some
    drawn[count // 2::2, 7] = "changed"
    return pl.DataFrame({"id": [f"{n:032x}" for n in range(count)], "text": [" ".join(row) for row in drawn]})
duplicates = NearDuplicates(threshold=0.6)
def fall(frames):
    for _ in range(frames):
        duplicates.add(rows(10_000))
fall(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fall(int(sys.argv[1]) - 1)
fallen = sum(len(part) - part.null_count() for part in duplicates.reasons())
print(fallen, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_is_bounded() -> None:
    """200,000 rows, half of them duplicates, in 64 MiB; their sets and signatures take 200, held in memory."""
    done = subprocess.run([sys.executable, "-c", MEASURED, "20"], capture_output=True, text=True, check=True)
    fallen, mebibytes = map(int, done.stdout.split())
    assert fallen > 99_900
    assert mebibytes < 64, mebibytes
