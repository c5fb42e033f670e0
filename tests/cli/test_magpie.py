"""`synth magpie` on the sample model and the transformers engine; in a process of its own where that matters."""

import json
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from tests.cli.running import SYNTH, Command, synth
from tests.conftest import Here

MAGPIE = ["magpie", "--engine", "transformers"]
SHORT = ["--question-tokens", "300", "--max-tokens", "120"]
"""No question of these runs reaches so many tokens: at a limit, rounding would decide which row is cut off."""


@pytest.fixture
def magpie(here: Here) -> Here:
    """Runs the command in this process."""

    def run(*arguments: object, model: str = "samples/model") -> "subprocess.CompletedProcess[str]":
        engine = () if "--engine" in arguments else ("--engine", "transformers")
        return here("magpie", *engine, "--model", model, *SHORT, *arguments)

    return run


def refused(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """The one line that a refused command prints."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    return last


def texts(path: Path) -> list[tuple[str, str]]:
    loaded = datasets.load_from_disk(str(path))
    return list(zip(loaded["id"], (json.dumps(turns) for turns in loaded["messages"]), strict=True))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 300 rows."""
    path = tmp_path_factory.mktemp("reference") / "d"
    command = ["magpie", "--engine", "transformers", "--model", "samples/model", *SHORT]
    assert synth(*command, "-n", 300, "-o", path) == 0
    return path


def test_directory(reference: Path) -> None:
    rows = datasets.load_from_disk(str(reference))
    assert len(rows) == 300 and len(set(rows["id"])) == 300
    assert len({row["messages"][0]["content"] for row in rows}) == 300  # no duplicates
    record = json.loads((reference / "run.json").read_text())
    assert record["accepted"] == 300 and record["asked"] == 300 and record["finished"]
    assert sum(record["reasons"].values()) == record["rejected"]
    assert record["completion_tokens"] > 3000 and record["seconds"] > 0
    assert {"synth", "torch", "transformers"} <= record["versions"].keys()
    assert "300 rows made by `synth magpie`" in (reference / "README.md").read_text()


def test_standard_output_is_rows_alone(magpie: Here) -> None:
    done = magpie("-n", "5")
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 5
    assert all(row.keys() == {"id", "messages", "method", "model", "samples"} for row in rows)
    assert "5 rows" in done.stderr
    assert magpie("-n", "5", "--quiet").stderr == ""


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_file(magpie: Here, tmp_path: Path, suffix: str, reference: Path) -> None:
    file = tmp_path / f"rows.{suffix}"
    done = magpie("-n", "60", "-o", file)
    assert done.returncode == 0, done.stderr
    if suffix == "parquet":
        found = pq.read_table(file)["id"].to_pylist()
    else:
        found = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert found == [row_id for row_id, _ in texts(reference)[:60]]
    assert {path.name for path in tmp_path.iterdir()} <= {file.name, f"rows.rejected.{suffix}"}
    assert "exists; choose another -o, or add --restart" in refused(magpie("-n", "60", "-o", file))


def test_larger_n_extends_and_smaller_is_done_already(magpie: Here, tmp_path: Path, reference: Path) -> None:
    assert magpie("-n", "50", "-o", tmp_path / "d").returncode == 0
    assert magpie("-n", "80", "-o", tmp_path / "d", "--concurrency", "9").returncode == 0
    assert [row_id for row_id, _ in texts(tmp_path / "d")] == [row_id for row_id, _ in texts(reference)[:80]]
    done = magpie("-n", "30", "-o", tmp_path / "d")
    assert done.returncode == 0 and "already holds 80 rows" in done.stderr
    assert "loading" not in done.stderr


def test_interrupted_runs_end_up_the_same(tmp_path: Path, reference: Path) -> None:
    """Ctrl-C, then two kills, at another concurrency each time; the same rows but for rounding."""
    command = [*MAGPIE, "--model", "samples/model", *SHORT, "-n", 300, "-o", tmp_path / "d"]
    journal = tmp_path / "d" / "journal.jsonl"
    with Command(*command, "--concurrency", 16, "--restart") as stopped:
        wait_for_rows(journal, 20)
        stopped.interrupt()
        assert stopped.wait() == 1
        assert "finishing" in stopped.said and "run this again, without --restart, to continue" in stopped.said
    assert len(texts(tmp_path / "d")) >= 15  # what is finished can be opened at once

    moments = random.Random(2)
    for concurrency in ("7", "100"):
        with Command(*command, "--concurrency", concurrency):
            wait_for_rows(journal, 10)
            time.sleep(moments.random() * 0.5)
    assert synth(*command, "--quiet") == 0
    found, expected = dict(texts(tmp_path / "d")), dict(texts(reference))
    assert len(found) == len(expected) == 300
    assert list(found) == list(expected)
    assert sum(found[row_id] != expected[row_id] for row_id in expected) <= 1


def wait_for_rows(journal: Path, more: int) -> None:
    """Until the journal of a run under way has grown by some rows, or the run has ended."""
    deadline = time.monotonic() + 120
    start = None
    while time.monotonic() < deadline:
        if journal.exists():
            count = journal.read_bytes().count(b"\n")
            start = count if start is None or count < start else start
            if count >= start + more:
                return
        time.sleep(0.02)
    raise AssertionError("the run makes no rows")


def test_reader_that_goes_away_is_no_error() -> None:
    command = " ".join(f"'{part}'" for part in [*SYNTH, *MAGPIE, "--model", "samples/model", *SHORT, "-n", "300"])
    done = subprocess.run(f"{command} --quiet | head -n 2", shell=True, capture_output=True, text=True, timeout=300)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "0"], "0 is too small: at least 1"),
        (["-n", "-3"], "-3 is too small: at least 1"),
        (["-n", "5", "--temperature", "-1"], "--temperature"),
        (["-n", "5", "--top-p", "0"], "--top-p"),
        (["-n", "5", "--max-tokens", "0"], "--max-tokens"),
        (["-n", "5", "--turns", "0"], "--turns"),
        (["-n", "5", "--system", "@nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["-n", "5", "--engine", "quantum"], "--engine quantum is unknown"),
        (["-n", "5", "--engine", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_bad_settings_are_one_line(magpie: Here, arguments: list[str], message: str) -> None:
    assert message in refused(magpie(*arguments))


@pytest.mark.parametrize("model", ["./no/such/model", "samples", "README.md"])
def test_missing_model(magpie: Here, model: str) -> None:
    assert model in refused(magpie("-n", "5", model=model))


def test_tokenizer_without_template(magpie: Here, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree("samples/model", base)
    (base / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((base / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    line = refused(magpie("-n", "5", model=str(base)))
    assert "no chat template" in line and "--prefix TEXT --stop TEXT" in line
    done = magpie("-n", "3", "--prefix", "<|user|>", "--stop", "<|end|><|assistant|>", model=str(base))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_output_that_holds_something_else(magpie: Here, tmp_path: Path, reference: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert "holds no run of synth" in refused(magpie("-n", "5", "-o", tmp_path / "mine"))
    line = refused(magpie("-n", "500", "--seed", "9", "--top-p", "0.9", "-o", reference))
    assert "(seed: 0, now 9; top_p: 1.0, now 0.9)" in line and "--restart" in line
    assert len(texts(reference)) == 300


def test_damaged_shard_of_a_run_to_be_continued(magpie: Here, tmp_path: Path, reference: Path) -> None:
    shutil.copytree(reference, tmp_path / "d")
    shard = tmp_path / "d" / "data-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:5000])
    assert "data-00000.arrow is missing or damaged" in refused(magpie("-n", "500", "-o", tmp_path / "d"))


def test_failed_start_leaves_nothing(magpie: Here, tmp_path: Path) -> None:
    refused(magpie("-n", "5", "--engine", "http://127.0.0.1:9", "-o", tmp_path / "d"))
    assert not (tmp_path / "d").exists()


def test_model_that_delivers_nothing_says_so(magpie: Here, tmp_path: Path) -> None:
    done = magpie("-n", "50", "--question-tokens", "1", "-o", tmp_path / "d")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "gave up after 200 attempts: 0 of the 50 rows" in last and "200 question cut off" in last
    assert len(datasets.load_from_disk(str(tmp_path / "d" / "rejected"))) == 200


def test_two_at_once_in_one_place(magpie: Here, tmp_path: Path) -> None:
    with Command(*MAGPIE, "--model", "samples/model", *SHORT, "-n", 5000, "-o", tmp_path / "d"):
        wait_for_rows(tmp_path / "d" / "journal.jsonl", 1)
        assert "another run is writing to" in refused(magpie("-n", "5000", "-o", tmp_path / "d"))


def test_port_without_an_http_server() -> None:
    """Something listens, but speaks no HTTP."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Command("magpie", "--engine", address, "--model", "samples/model", "-n", 5) as child:
            connection, _ = listener.accept()
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            connection.close()
            listener.close()
            assert child.wait() == 2 and "Traceback" not in child.said
            assert address.removeprefix("http://") in child.said.strip().splitlines()[-1]
