"""Which rows a shard has, and how it is written."""

import json
from itertools import count

import pytest

from synth.data.run.shard import Shard
from synth.errors import UsageError


def test_shards_are_written_i_of_n() -> None:
    assert Shard.parse(" 03/8") == Shard(3, 8)
    for text in ("", "3", "0/8", "9/8", "3/0", "-1/8", "3/8/1", "a/b", "1.5/3", "٣/٨", "1/" + "9" * 5000):
        with pytest.raises(UsageError, match="1/8"):
            Shard.parse(text)


@pytest.mark.parametrize("of", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [None, 0, 1, 7, 8, 9, 64])
def test_every_row_is_in_one_shard(of: int, total: int | None) -> None:
    found: list[int] = []
    for number in range(1, of + 1):
        shard = Shard(number, of).over(total, turn=2)
        size = 40 if shard.size is None else shard.size
        rows = [
            row for _, row in zip(range(size), shard.rows(lambda start: iter(range(start, 10**6)))(0), strict=False)
        ]
        assert rows == [shard.row(index) for index in range(size)]
        for start in (0, size // 2, size):
            assert [row for _, row in zip(range(size - start), shard.rows(count)(start), strict=False)] == rows[start:]
        found += rows
    assert sorted(found) == [*range(40 * of if total is None else total)]
    assert Shard.read(json.loads(json.dumps(shard.record()))) == shard
