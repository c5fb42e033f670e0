"""Shards of a run, joined, are what one process writes, byte for byte; what cannot be joined is refused."""

import asyncio
import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

import synth
from synth.data.output import Output
from synth.data.prompts import open_prompts
from synth.data.read import open_rows
from synth.data.row import BASE, INDEX, Outcome, Row
from synth.data.run.record import read_record
from synth.data.run.shard import Shard
from synth.errors import RequestError, RunError, UsageError
from synth.generation.acceptance import Quota, Rules
from synth.generation.pipeline import Job, generate, prompt_job
from synth.generation.roles import Roles
from synth.progress import SILENT
from tests.cli.running import Command

PACE = 0.002
"""Seconds that a row takes at most."""
ADDED = pa.schema([("kind", pa.string()), ("cost", pa.float64())])


async def answered(row: Row) -> Outcome:
    """Takes its time, in no order; some rows fail, some are bad, some repeat each other, some bring pairs."""
    index = row.passthrough["n"]
    await asyncio.sleep(random.random() * PACE)
    dice = random.Random(index)
    number = dice.randrange(50) if dice.random() < row.passthrough.get("common", 0.2) else index
    row.messages = [{"role": "user", "content": f"question {number}"}]
    row.extra = {"kind": "easy" if index % 2 else "hard", "cost": index / 7}
    if dice.random() < 0.1:
        raise RequestError("the server said no")
    turn = [{"role": "assistant", "content": str(index)}]
    pairs = [{"id": row.id, "prompt": row.messages, "chosen": turn, "rejected": turn}] if index % 4 == 0 else []
    return Outcome(row, "bad: very" if dice.random() < 0.2 else None, pairs=pairs)


async def doubled(row: Row) -> Outcome:
    """As `answered`, and some rows become two."""
    outcome = await answered(row)
    if outcome.reason is None and row.passthrough["n"] % 4 == 0:
        outcome.more = [replace(row, id=f"{row.id}-b", extra=row.extra | {"cost": None})]
    return outcome


def endless(target: int, *, seed: int = 1, bad: int = 0, common: float = 0.2) -> Job:
    """Rows from nothing until there are enough, no question twice, as many easy ones as hard ones."""

    def rows(start: int) -> Iterator[Row]:
        for index in count(start):
            fault = "unreadable" if index % 31 == 30 or index < bad else None
            yield Row(f"row-{index}", [], "test", passthrough={"n": index, "common": common}, fault=fault)

    rules = Rules(unique=True, quota=Quota("kind", ("easy", "hard")))
    schema = pa.schema([*BASE, *ADDED, ("n", pa.int64()), ("common", pa.float64())])
    return Job("test", {"seed": seed}, lambda _: answered, lambda *_: rows, schema, target, rules=rules)


def over(source: Path, rows: int) -> Job:
    """Every row of a file once, of which some cannot be read; it has columns of its own by all kinds of names."""
    lines = [json.dumps({"prompt": f"task {n}", "n": n, "cost": n, "synth:index": n, "index": -n}) for n in range(rows)]
    source.write_text("\n".join(lines))
    prompts = open_prompts(open_rows(str(source)))
    return prompt_job("test", prompts, ADDED, {"seed": 1}, lambda _: doubled)


def make(job: Job, path: Path, shard: str | Shard | None = None) -> None:
    part = Shard.parse(shard) if isinstance(shard, str) else shard
    generate(job, Roles({}), Output(str(path), shard=part), progress=SILENT)


def sharded(job: Job, folder: Path, of: int) -> list[Path]:
    for number in range(1, of + 1):
        make(job, folder / str(number), f"{number}/{of}")
    return [folder / str(number) for number in range(1, of + 1)]


def same(one: Path, other: Path) -> None:
    """The tables of two runs are the same bytes, and their records the same but for times and tokens."""
    names = [sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()) for path in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(("arrow", "dataset_info.json")):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    records = [json.loads((path / "run.json").read_text()) for path in (one, other)]
    for record in records:
        record.pop("joining", None)
        for name in ("joined", "command_line", "seconds", "prompt_tokens", "completion_tokens", "finished", "versions"):
            record.pop(name)
    assert records[0] == records[1]


@pytest.mark.parametrize("of", [1, 2, 8])
def test_shards_of_a_run_with_a_target_join_exactly(tmp_path: Path, of: int) -> None:
    make(endless(150), tmp_path / "whole")
    shards = sharded(endless(150), tmp_path / "parts", of)
    random.shuffle(shards)
    joined = synth.join(shards, output=tmp_path / "joined", progress=SILENT)
    same(tmp_path / "whole", tmp_path / "joined")
    assert isinstance(joined, synth.Dataset) and len(joined) == 150 and joined.record is not None
    assert [one["shard"] for one in joined.record.joined] == [f"{number}/{of}" for number in range(1, of + 1)]
    assert INDEX.name not in datasets.load_from_disk(str(tmp_path / "joined")).column_names
    assert "Joined from" in (tmp_path / "joined" / "README.md").read_text()
    make(endless(170), tmp_path / "whole")  # a joined run is one like any other, which a larger target extends
    make(endless(170), tmp_path / "joined")
    assert [*synth.Dataset(tmp_path / "whole")] == [*synth.Dataset(tmp_path / "joined")]


@pytest.mark.parametrize(("rows", "of"), [(103, 1), (103, 2), (103, 8), (5, 8)])
def test_shards_of_a_data_set_join_exactly(tmp_path: Path, rows: int, of: int) -> None:
    job = over(tmp_path / "in.jsonl", rows)
    make(job, tmp_path / "whole")
    synth.join(sharded(job, tmp_path / "parts", of), output=tmp_path / "joined", progress=SILENT)
    same(tmp_path / "whole", tmp_path / "joined")


def test_what_each_server_did_is_kept(tmp_path: Path) -> None:
    shards = sharded(over(tmp_path / "in.jsonl", 10), tmp_path / "parts", 2)
    record, servers = json.loads((shards[1] / "run.json").read_text()), [{"url": "http://gpu2:8000", "requests": 5}]
    (shards[1] / "run.json").write_text(json.dumps(record | {"servers": servers}))
    synth.join(shards, output=tmp_path / "joined", progress=SILENT)
    joined = json.loads((tmp_path / "joined" / "run.json").read_text())["joined"]
    assert [one.get("servers") for one in joined] == [None, servers]


def test_blocks_of_an_open_number_join_exactly(tmp_path: Path) -> None:
    """Whoever hands out blocks until there are enough, or all, does not know beforehand how many."""
    job = over(tmp_path / "in.jsonl", 45)
    for number in range(1, 6):
        make(job, tmp_path / "a" / str(number), Shard(number, None, 10))
        make(endless(14), tmp_path / "b" / str(number), Shard(number, None, 10))
    make(job, tmp_path / "whole")
    make(endless(14), tmp_path / "enough")
    blocks = [*(tmp_path / "a").iterdir()]
    synth.join(blocks, output=tmp_path / "all", progress=SILENT)
    same(tmp_path / "whole", tmp_path / "all")
    synth.join([*(tmp_path / "b").iterdir()], output=tmp_path / "cut", progress=SILENT)
    same(tmp_path / "enough", tmp_path / "cut")
    with pytest.raises(UsageError, match="40 of 45 rows"):
        synth.join([block for block in blocks if block.name != "5"], output=tmp_path / "few", progress=SILENT)


def test_a_shard_that_gave_up_is_not_missed_where_the_others_suffice(tmp_path: Path) -> None:
    """One machine's model writes nothing that is of use."""

    async def taken(row: Row) -> Outcome:
        row.messages = [{"role": "user", "content": row.id}]
        return Outcome(row, None if row.passthrough["n"] % 2 else "bad")

    def job(target: int) -> Job:
        return replace(endless(target), method=lambda _: taken, rules=Rules(unique=True))

    folders = [tmp_path / "1", tmp_path / "2"]

    def shards(target: int) -> None:
        with pytest.raises(RunError, match="gave up after"):
            make(job(target), folders[0], "1/2")
        make(job(target), folders[1], "2/2")

    shards(20)
    synth.join(folders, output=tmp_path / "joined", progress=SILENT)
    make(job(20), tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "joined")
    shards(60)
    with pytest.raises(
        RunError, match=rf"48 of the 60 rows wanted.*`rows` 84.*{folders[0]} gave up after \d+ attempts"
    ):
        synth.join(folders, output=tmp_path / "more", progress=SILENT)


def test_too_few_rows_are_told_and_the_shards_go_on(tmp_path: Path) -> None:
    """Far more duplicates between the shards than the margin has room for."""
    make(endless(300, common=0.6), tmp_path / "whole")
    shards = sharded(endless(300, common=0.6), tmp_path / "parts", 8)
    with pytest.raises(RunError, match="of the 300 rows wanted") as told:
        synth.join(shards, output=tmp_path / "joined", progress=SILENT)
    assert not (tmp_path / "joined").exists()
    said = str(told.value)
    while not (tmp_path / "joined").exists():
        more = int(said.split("`rows` ")[1].split(",")[0])
        sharded(endless(more, common=0.6), tmp_path / "parts", 8)
        try:
            synth.join(shards, rows=300, output=tmp_path / "joined", progress=SILENT)
        except RunError as error:
            assert said != str(error)
            said = str(error)
    same(tmp_path / "whole", tmp_path / "joined")


def test_a_run_that_gives_up_gives_up_in_shards(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="gave up after 200 attempts") as alone:
        make(endless(100, bad=10**6), tmp_path / "whole")
    for number in (1, 2):
        with pytest.raises(RunError, match="gave up after 321 attempts"):
            make(endless(100, bad=10**6), tmp_path / "parts" / str(number), f"{number}/2")
    with pytest.raises(RunError) as joined:
        synth.join([*(tmp_path / "parts").iterdir()], output=tmp_path / "joined", progress=SILENT)
    assert str(joined.value) == str(alone.value)
    same(tmp_path / "whole", tmp_path / "joined")


def test_a_shard_gives_up_late_and_goes_on_when_called_again(tmp_path: Path) -> None:
    """Few of its first rows are good, fewer than a whole run has patience for, which has other rows besides."""
    make(endless(10, bad=300), tmp_path / "late", "1/1")
    with pytest.raises(RunError, match="gave up after 321 attempts"):
        make(endless(10, bad=400), tmp_path / "later", "1/1")
    make(endless(11, bad=400), tmp_path / "later", "1/1")
    record = read_record(tmp_path / "later")
    assert record is not None and record.accepted >= 11 and record.note is None and 400 < record.next < 521


def test_what_cannot_be_joined_is_refused_in_one_line(tmp_path: Path) -> None:
    shards = sharded(endless(30), tmp_path / "parts", 3)
    make(endless(30), tmp_path / "whole")
    make(endless(30), tmp_path / "other cut", "2/4")
    make(endless(31), tmp_path / "other target", "2/3")
    make(endless(30, seed=2), tmp_path / "other seed", "2/3")
    shutil.copytree(shards[1], tmp_path / "unfinished")
    record = json.loads((tmp_path / "unfinished" / "run.json").read_text()) | {"finished": None, "command_line": None}
    (tmp_path / "unfinished" / "progress.json").write_text(json.dumps(record))
    (tmp_path / "unfinished" / "run.json").unlink()
    shutil.copytree(shards[1], tmp_path / "lost")
    (tmp_path / "lost" / "rejected" / "data-00000.arrow").unlink()
    shutil.copytree(shards[1], tmp_path / "torn")
    table = tmp_path / "torn" / "data-00000.arrow"
    table.write_bytes(table.read_bytes()[:-2000])
    shutil.copytree(shards[1], tmp_path / "lies")
    lying = record | {"finished": "now", "rejected_shards": []}
    (tmp_path / "lies" / "run.json").write_text(json.dumps(lying))
    shutil.copytree(shards[1], tmp_path / "no shard")
    (tmp_path / "no shard" / "run.json").write_text(json.dumps(record | {"shard": {"number": "2"}}))
    (tmp_path / "nothing").mkdir()
    for second, said in {
        "whole": "is no shard, but a whole run of synth test",
        "other cut": "do not belong together: shard 1/3 and shard 2/4",
        "other target": "made for different `rows`",
        "other seed": r"different runs \(seed: 1, now 2",
        "unfinished": "shard 2/3 is not finished; make it with the same call again",
        "lost": "is missing or damaged .* make shard 2/3 again, with `restart`",
        "torn": "is missing or damaged .* make shard 2/3 again, with `restart`",
        "lies": "is damaged .*make shard 2/3 again, with `restart`",
        "no shard": "is damaged .*what it says of its shard is wrong",
        "nothing": "holds no shard",
        "parts/1": "shard 1/3 is there twice",
        "parts/4": "holds no shard",
    }.items():
        with pytest.raises(UsageError, match=said) as refused:
            synth.join([shards[0], tmp_path / second, shards[2]], output=tmp_path / "joined", progress=SILENT)
        assert "\n" not in str(refused.value) and not (tmp_path / "joined").exists()
    with pytest.raises(UsageError, match="1 shards are missing: 2/3"):
        synth.join([shards[0], shards[2]], output=tmp_path / "joined", progress=SILENT)
    with pytest.raises(UsageError, match="exists"):
        synth.join(shards, output=tmp_path / "whole", progress=SILENT)
    with pytest.raises(UsageError, match=r"other settings \(shard: \"1/3\", now \"2/3\"\)"):
        make(endless(30), shards[0], "2/3")
    with pytest.raises(UsageError, match=r"other settings \(shard: \"1/3\", now \"none\"\)"):
        make(endless(30), shards[0])


def test_an_output_stays_until_the_shards_are_known_to_join(tmp_path: Path) -> None:
    shards = sharded(endless(30), tmp_path / "parts", 2)
    make(endless(20), tmp_path / "old")
    before = (tmp_path / "old" / "run.json").read_bytes()
    (shards[1] / "data-00000.arrow").unlink()
    with pytest.raises(UsageError, match=r"is damaged .*make shard 2/2 again"):
        synth.join(shards, output=tmp_path / "old", restart=True, progress=SILENT)
    assert (tmp_path / "old" / "run.json").read_bytes() == before


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_joined_into_a_file(tmp_path: Path, suffix: str) -> None:
    shards = sharded(endless(30), tmp_path / "parts", 2)
    generate(endless(30), Roles({}), Output(str(tmp_path / f"whole{suffix}")), progress=SILENT)
    synth.join(shards, output=tmp_path / f"joined{suffix}", progress=SILENT)
    for name in (suffix, f".rejected{suffix}", f".pairs{suffix}"):
        assert (tmp_path / f"whole{name}").read_bytes() == (tmp_path / f"joined{name}").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        synth.join(shards, output=tmp_path / f"joined{suffix}", progress=SILENT)


def unfinish(path: Path, **fields: object) -> None:
    """Leave a run as a kill before its end does."""
    record = json.loads((path / "run.json").read_text()) | {"finished": None} | fields
    (path / "progress.json").write_text(json.dumps(record))
    (path / "run.json").unlink()


def test_a_joining_that_was_killed_begins_anew(tmp_path: Path) -> None:
    shards = sharded(endless(30), tmp_path / "parts", 2)
    make(endless(30), tmp_path / "whole")
    synth.join(shards, output=tmp_path / "joined", progress=SILENT)
    unfinish(tmp_path / "joined", next=0, accepted=0, shards=[])
    synth.join(shards, output=tmp_path / "joined", progress=SILENT)
    same(tmp_path / "whole", tmp_path / "joined")


def test_an_unfinished_run_that_is_no_joining_stays(tmp_path: Path) -> None:
    """A joined set that is being extended, and a run on Ray, say what they were joined from, too."""
    shards = sharded(endless(30), tmp_path / "parts", 2)
    synth.join(shards, output=tmp_path / "extended", progress=SILENT)
    make(endless(40), tmp_path / "extended")
    make(endless(30), tmp_path / "ray")
    unfinish(tmp_path / "extended")
    unfinish(tmp_path / "ray", joined=[{"shard": "an actor"}])
    for name in ("extended", "ray"):
        with pytest.raises(UsageError, match=f"{name} exists"):
            synth.join(shards, output=tmp_path / name, progress=SILENT)


def test_a_joining_into_a_file_that_was_killed_late_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its file is there, and after that, before the rows beside it are removed."""
    shards = sharded(endless(30), tmp_path / "parts", 2)
    others = sharded(endless(20), tmp_path / "others", 2)
    synth.join(shards, output=tmp_path / "whole.jsonl", progress=SILENT)
    file, beside = tmp_path / "joined.jsonl", tmp_path / "joined.jsonl.partial"
    for step in ("_copy", "clear_run"):
        with monkeypatch.context() as broken:
            broken.setattr(f"synth.data.file_run.{step}", lambda *_: sys.exit("killed"))
            with pytest.raises(SystemExit):
                synth.join(shards, output=file, progress=SILENT)
        assert (beside / "run.json").exists() and file.exists() == (step == "clear_run")
    with pytest.raises(UsageError, match=r"joined\.jsonl exists"):
        synth.join(others, output=file, progress=SILENT)
    synth.join(shards, output=file, progress=SILENT)
    assert file.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not (beside / "run.json").exists()
    make(endless(30), beside)
    file.unlink()
    with pytest.raises(UsageError, match=r"joined\.jsonl\.partial exists"):
        synth.join(shards, output=file, progress=SILENT)


def test_shards_killed_at_any_moment_join_exactly(tmp_path: Path) -> None:
    make(endless(150), tmp_path / "whole")
    moments = random.Random(5)
    for number in (1, 2, 3):
        shard = tmp_path / "parts" / str(number)
        with Command(shard, f"{number}/3", program=slowly) as child:
            journal, rows = shard / "journal.jsonl", moments.randrange(1, 40)
            while child.is_alive() and not (journal.exists() and journal.read_bytes().count(b"\n") >= rows):
                time.sleep(0.01)
            child.kill()
            assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
        with pytest.raises(UsageError, match="not finished"):
            synth.join([shard], output=tmp_path / "joined", progress=SILENT)
        make(endless(150), shard, f"{number}/3")
    synth.join([*(tmp_path / "parts").iterdir()], output=tmp_path / "joined", progress=SILENT)
    same(tmp_path / "whole", tmp_path / "joined")


def slowly(arguments: list[str]) -> None:
    """What the process does that is killed."""
    global PACE
    PACE = 1
    make(endless(150), Path(arguments[0]), arguments[1])


def test_a_shard_says_so(tmp_path: Path) -> None:
    make(endless(30), tmp_path / "one", "2/3")
    record = read_record(tmp_path / "one")
    assert record is not None and record.shard is not None and (record.asked, record.shard["number"]) == (30, 2)
    assert datasets.load_from_disk(str(tmp_path / "one"))[INDEX.name][:2] == [3, 14]  # 2 and 15 are bad
    assert "`synth join`" in (tmp_path / "one" / "README.md").read_text()
