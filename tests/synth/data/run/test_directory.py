"""The run directory: what lands, what is gone on with, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from synth.data.read import open_source
from synth.data.row import BASE, Outcome, Row
from synth.data.run import directory as store
from synth.data.run import shards
from synth.errors import RunError, UsageError
from tests.synth.data.run.runs import expected, fill, ids, open_at, outcome, to_file


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 7)
    monkeypatch.setattr(shards, "BATCH_ROWS", 3)


def test_finished_run_is_a_data_set(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 40)
    run.finish()
    loaded = datasets.load_from_disk(str(tmp_path / "d"))
    assert loaded.column_names == BASE.names
    assert loaded[3]["messages"] == [{"role": "user", "content": "Ünïcode 3 \U0001f9ea"}]
    assert ids(tmp_path / "d") == expected(40)
    rejects = datasets.load_from_disk(str(tmp_path / "d" / "rejected"))
    assert rejects["id"][:] == expected(40, rejected=True)
    assert set(rejects["reason"]) == {"bad: very"}
    record = json.loads((tmp_path / "d" / "run.json").read_text())
    assert (record["accepted"], record["rejected"], record["reasons"]) == (32, 8, {"bad": 8})
    assert len(record["shards"]) > 3
    left = {file.name for file in (tmp_path / "d").iterdir()} - set(record["shards"])
    assert left == {"README.md", "dataset_info.json", "state.json", "run.json", "rejected"}


def test_reader_sees_landed_rows_while_the_run_is_under_way(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 20)
    landed = run.record.accepted - len(run.accepted.records) - sum(b.num_rows for b in run.accepted.batches)
    assert 0 < landed < run.record.accepted
    assert ids(tmp_path / "d") == expected(20)[:landed]


def test_slow_run_lands_small_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_SECONDS", 0.0)
    run = open_at(tmp_path / "d")
    fill(run, 3)
    assert ids(tmp_path / "d") == expected(3) and len(run.record.shards) == 3


def test_changed_settings_are_refused_by_name(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d", seed=1, draws={"top_p": 1.0})
    fill(run, 3)
    run.pause()
    with pytest.raises(UsageError, match=r"draws\.top_p: 1\.0, now 0\.9.*`restart`"):
        open_at(tmp_path / "d", seed=1, draws={"top_p": 0.9})
    restarted = open_at(tmp_path / "d", restart=True, seed=2, draws={"top_p": 0.9})
    assert restarted.next == 0 and not restarted.ahead
    restarted.pause()


def test_other_contents_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no run of synth"):
        open_at(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        open_at(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_two_runs_in_one_place_are_refused(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 1)
    with pytest.raises(UsageError, match="another run is writing"):
        open_at(tmp_path / "d")
    run.pause()
    open_at(tmp_path / "d").pause()


def test_run_without_a_row_leaves_nothing(tmp_path: Path) -> None:
    open_at(tmp_path / "d", seed=1).pause()
    assert not (tmp_path / "d").exists()


def test_run_killed_before_its_first_row_binds_nobody(tmp_path: Path) -> None:
    os.close(open_at(tmp_path / "d", seed=1)._lock)  # as a kill while its model is loaded
    run = open_at(tmp_path / "d", seed=2)
    run.begin()
    os.close(run._lock)  # killed when all but the first row was written
    other = open_at(tmp_path / "d", seed=3)
    fill(other, 3)
    other.finish()
    assert ids(tmp_path / "d") == expected(3)


def test_restart_throws_nothing_away_before_there_is_a_row(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d", seed=1)
    fill(run, 9)
    run.finish()
    open_at(tmp_path / "d", restart=True, seed=2).pause()  # its model could not be loaded
    assert ids(tmp_path / "d") == expected(9) and (tmp_path / "d" / "run.json").exists()
    again = open_at(tmp_path / "d", restart=True, seed=2)
    fill(again, 1)
    again.pause()
    assert ids(tmp_path / "d") == expected(1) and not (tmp_path / "d" / "run.json").exists()


def test_finished_run_stays_finished_where_no_row_is_added(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 9)
    run.finish()
    open_at(tmp_path / "d").pause()
    assert (tmp_path / "d" / "run.json").exists() and not (tmp_path / "d" / "progress.json").exists()


def test_killed_at_its_very_end_it_is_done_and_the_next_call_clears_up(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 8)
    run.land()
    left = {name: (tmp_path / "d" / name).read_bytes() for name in ("progress.json", "journal.jsonl")}
    run.finish()
    done = {file.name for file in (tmp_path / "d").iterdir()}
    for name, held in left.items():
        (tmp_path / "d" / name).write_bytes(held)
    open_at(tmp_path / "d").finish()
    assert {file.name for file in (tmp_path / "d").iterdir()} == done and not open_source(str(tmp_path / "d")).notes


def test_file_lives_until_there_is_a_row_of_the_run_that_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("old")
    with pytest.raises(UsageError, match="exists; choose another"):
        to_file(path)
    to_file(path, restart=True).pause()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    run = to_file(path, restart=True)
    fill(run, 9)
    assert not path.exists()
    os.close(run._lock)  # as a kill does
    again = to_file(path)
    assert again.next + len(again.ahead) == 9
    fill(again, 10)
    again.finish()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == expected(10)
    assert {entry.name for entry in tmp_path.iterdir()} == {"d.jsonl", "d.rejected.jsonl"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shards", ["../../elsewhere.arrow"]),
        ("shards", "data-00000.arrow"),
        ("next", "7"),
        ("settings", []),
        ("reasons", {"bad": "many"}),
        ("parts", [1]),
        ("unknown", 1),
    ],
)
def test_damaged_record_is_one_clear_line(tmp_path: Path, field: str, value: object) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 9)
    run.finish()
    file = tmp_path / "d" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        open_at(tmp_path / "d")
    assert not (tmp_path / "d" / ".lock").exists()


@pytest.mark.parametrize("text", ["[]", "{", '"text"', "[" * 100_000, "\udcff", None])
def test_record_that_is_none_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "run.json"
    if text is None:
        file.mkdir()
    else:
        file.write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        open_at(tmp_path / "d")


def test_finished_run_without_accepted_rows_is_an_empty_data_set(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    bad = Outcome(Row("a", [], "test"), "bad")
    run.keep(0, bad)
    run.commit(bad)
    run.finish()
    assert ids(tmp_path / "d") == []
    assert datasets.load_from_disk(str(tmp_path / "d" / "rejected"))["id"][:] == ["a"]
    again = open_at(tmp_path / "d")
    fill(again, 9)
    again.finish()
    assert ids(tmp_path / "d") == expected(9)[1:]


def test_finished_run_is_extended(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 9)
    run.finish("short")
    again = open_at(tmp_path / "d")
    assert again.next == 9 and again.record.note is None
    fill(again, 20)
    again.finish()
    assert ids(tmp_path / "d") == expected(20)


def test_damaged_shard_is_one_clear_line(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 20)
    run.pause()
    shard = tmp_path / "d" / "data-00000.arrow"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(UsageError, match=r"data-00000\.arrow is missing or damaged"):
        list(open_at(tmp_path / "d").rows())


def test_a_shard_of_types_that_arrow_does_not_know_is_damaged(tmp_path: Path) -> None:
    """The width of an integer column, spoilt: pyarrow says "not implemented", not that the file is invalid."""
    shard = tmp_path / "data-00000.arrow"
    batch = pa.record_batch({"n": pa.array([1], pa.int16())})
    with pa.ipc.new_stream(str(shard), batch.schema) as stream:
        stream.write_batch(batch)
    whole = shard.read_bytes()
    refused = []
    for place, byte in enumerate(whole):
        if byte == 16:  # bits
            shard.write_bytes(whole[:place] + b"\x04" + whole[place + 1 :])
            try:
                list(shards.read_shards(tmp_path, [shard.name]))
            except UsageError as error:
                refused.append(str(error))
    assert any("less than 8 bits" in message for message in refused)


def test_a_shard_whose_text_is_no_text_is_damaged(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 20)
    run.pause()
    shard = tmp_path / "d" / "data-00000.arrow"
    whole = shard.read_bytes()
    assert b"test" in whole  # the method of every row
    shard.write_bytes(whole.replace(b"test", b"t\xb9st"))
    with pytest.raises(UsageError, match=r"data-00000\.arrow is missing or damaged .*UTF8"):
        list(open_at(tmp_path / "d").rows())


def test_broken_unicode_is_stored(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    bad = Outcome(Row("a", [{"role": "user", "content": "x\ud800y"}], "test"))
    run.keep(0, bad)
    run.commit(bad)
    run.finish()
    assert datasets.load_from_disk(str(tmp_path / "d"))[0]["messages"][0]["content"] == "x?y"


def test_card_is_not_closed_by_model_text(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    evil = Outcome(Row("a", [{"role": "user", "content": "```\n# Not a heading\n````"}], "test"))
    run.keep(0, evil)
    run.commit(evil)
    run.finish()
    card = (tmp_path / "d" / "README.md").read_text()
    assert "`````json" in card


FILL_A_DISK = """
import os, sys
from pathlib import Path
from synth.errors import RunError
from synth.data.row import BASE, REASON, Outcome, Row
from synth.data.run.record import RunRecord
from synth.data.run.directory import RunDirectory

place = Path(sys.argv[1])
run = RunDirectory.open(place / "d", RunRecord("test", {}), BASE)
kept = 0
try:
    for index in range(100000):
        made = Outcome(Row(str(index), [{"role": "user", "content": "x" * 500}], "test"))
        run.keep(index, made)
        run.commit(made)
        kept += 1
except RunError as error:
    print(error)
os.close(run._lock)
(place / "ballast").unlink()
again = RunDirectory.open(place / "d", RunRecord("test", {}), BASE)
print(kept, again.next + len(again.ahead))
"""


def test_full_disk_is_one_clear_line_and_keeps_what_is_finished(tmp_path: Path) -> None:
    """On a file system of 200 kB of its own (user namespace)."""
    script = tmp_path / "fill.py"
    script.write_text(FILL_A_DISK)
    inside = (
        f"mount -t tmpfs -o size=1m none {tmp_path}/small && head -c 600000 /dev/zero > {tmp_path}/small/ballast && "
        f"PYTHONPATH={Path(store.__file__).parents[3]} {sys.executable} {script} {tmp_path}/small"
    )
    (tmp_path / "small").mkdir()
    done = subprocess.run(["unshare", "-rm", "sh", "-c", inside], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system of its own to fill: {done.stderr.strip()}")
    message, counts = done.stdout.splitlines()
    assert "No space left on device" in message and "free some space and run this again" in message
    kept, found = map(int, counts.split())
    assert kept > 100 and kept <= found <= kept + 1


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write to"):
        open_at(Path("/proc/nowhere/d"))


def test_disk_error_is_a_run_error(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 1)
    run._journal.close()
    run._journal._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(RunError, match="No space left"):
        run.keep(1, outcome(1))


def test_schema_of_shards_is_the_base(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 9)
    run.finish()
    with pa.memory_map(str(tmp_path / "d" / "data-00000.arrow")) as file:
        assert pa.ipc.open_stream(file).schema == BASE


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 20)
    run.finish()
    (tmp_path / "d" / "README.md").unlink()
    os.mkfifo(tmp_path / "d" / "README.md")
    again = open_at(tmp_path / "d")
    again.finish()
    assert (tmp_path / "d" / "README.md").is_file()
    (tmp_path / "d" / "data-00000.arrow").unlink()
    os.mkfifo(tmp_path / "d" / "data-00000.arrow")
    again = open_at(tmp_path / "d")
    with pytest.raises(UsageError, match=r"data-00000\.arrow is missing or damaged"):
        list(again.rows())
    again.pause()


def test_a_landing_costs_the_same_however_many_shards_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says how many there are; `datasets` finds nearly all while the run goes on, and all once it stops."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 1)
    monkeypatch.setattr(shards, "UNLISTED", 4)
    path, sizes, lists = tmp_path / "d", [], set()
    run = open_at(path)
    for index in range(100):
        fill(run, index + 1)
        sizes.append((path / "progress.json").stat().st_size)
        lists.add((path / "state.json").read_bytes())
        if index > 10:
            assert 4 * len(ids(path)) >= 3 * len(expected(index))
    assert sizes[-1] - sizes[0] < 40 and len(lists) < 25
    run.pause()
    assert ids(path) == expected(100)
    run = open_at(path)
    fill(run, 101)
    run.finish()
    assert ids(path) == expected(101)
    assert json.loads((path / "run.json").read_text())["shards"] == [f"data-{number:05d}.arrow" for number in range(81)]
