"""Data sets pushed to a stand-in of the Hub: what lands there, what is sent again, what loads back."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import datasets
import pytest
import yaml

import synth
from synth.data.files.encode import Parquet
from synth.data.row import BASE, Outcome, Row
from synth.data.run import shards
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.hub import push as pushing
from synth.hub import tables
from tests.synth.data.run.runs import fill, open_at
from tests.synth.hub.stand_in import CUT, Hub

NAME, REPO = "ann/replay", "datasets/ann/replay"
HOSTILE = "---\nlicense: mit\n---\n```\n# Owned\n<script>alert(1)</script> [x](http://evil) | a | \u202e\n```"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine rows a shard, two shards a file."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 9)
    monkeypatch.setattr(tables, "FILE_BYTES", 6_000)


def made(path: Path, rows: int = 60, seed: int = 1) -> Path:
    run = open_at(path, seed=seed)
    fill(run, rows)
    run.finish()
    return path


def push(folder: Path, **settings: bool | str) -> str:
    return synth.push(folder, NAME, progress=synth.SILENT, **settings)  # type: ignore[arg-type]


def metadata(hub: Hub, repo: str = REPO) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(hub.text(repo, "README.md").split("---\n")[1])
    return found


def test_what_lands(hub: Hub, tmp_path: Path) -> None:
    assert push(made(tmp_path / "d")) == f"{hub.url}/datasets/ann/replay"
    repo = hub.repos[REPO]
    assert repo.private and "run.json" in repo.files and "progress.json" not in repo.files
    data = [path for path in repo.files if path.startswith("data/")]
    assert len(data) > 2 and data[0] == f"data/train-00000-of-{len(data):05d}.parquet"
    assert not [path for path in repo.files if path.endswith((".arrow", "state.json", ".lock"))]
    said = metadata(hub)
    assert said["license"] == "unknown" and said["size_categories"] == ["n<1K"] and "synthetic" in said["tags"]  # type: ignore[operator]
    assert [one["config_name"] for one in said["configs"]] == ["default", "rejected"]  # type: ignore[attr-defined]
    assert json.loads(hub.text(REPO, "run.json"))["accepted"] == 48
    assert 'datasets.load_dataset("ann/replay", "rejected", split="train")' in hub.text(REPO, "README.md")


def test_it_loads_back(hub: Hub, tmp_path: Path) -> None:
    """By the library itself, in a process of its own, from what the stand-in was sent."""
    run = open_at(tmp_path / "d")
    for index in range(40):
        row = Row(f"row-{index}", [{"role": "user", "content": f"{HOSTILE} {index}"}], "test", samples=1)
        run.commit(Outcome(row, None if index % 3 else "bad: so", [], []))
    run.finish()
    push(tmp_path / "d")
    code = (
        "import datasets, sys\n"
        "for config, folder in (('default', ''), ('rejected', '/rejected')):\n"
        "    there = datasets.load_dataset('ann/replay', config, split='train')\n"
        "    here = datasets.load_from_disk(sys.argv[1] + folder)\n"
        "    assert there.features == here.features, (there.features, here.features)\n"
        "    assert there.to_list() == here.to_list() and len(here) > 9\n"
        "print('SAME')"
    )
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "d")],
        env=os.environ | environment | {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_writer"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "SAME\n", done.stderr[-3000:]


def test_only_what_is_missing_is_sent_again(hub: Hub, tmp_path: Path) -> None:
    folder = made(tmp_path / "d", 30)
    push(folder)
    sent, commits = hub.sent(), list(hub.repos[REPO].commits)
    push(folder)
    assert hub.sent() == sent and hub.repos[REPO].commits == commits
    before = dict(hub.repos[REPO].files)
    push(made(folder, 60))  # extended: the first files are the same but for how many there are
    after = hub.repos[REPO].files
    contents = {held for path, held in before.items() if path.endswith(".parquet")}
    kept = contents & {held for held in after.values() if isinstance(held, str)}
    assert kept and hub.sent() - sent == sum(path.endswith(".parquet") for path in after) - len(kept)
    assert len({path.rsplit("-of-")[1] for path in after if path.startswith("data/")}) == 1
    assert datasets.load_from_disk(str(folder)).num_rows == 48 == json.loads(hub.text(REPO, "run.json"))["accepted"]


def test_what_people_added_to_the_card_stays(hub: Hub, tmp_path: Path) -> None:
    folder = made(tmp_path / "d", 30)
    push(folder)
    text = hub.text(REPO, "README.md").replace("license: unknown", "license: cc-by-4.0\npretty_name: Mine")
    hub.repos[REPO].files["README.md"] = text.encode()
    push(made(folder, 40))
    assert metadata(hub)["license"] == "cc-by-4.0" and metadata(hub)["pretty_name"] == "Mine"
    push(folder, license="mit")
    assert metadata(hub)["license"] == "mit"


FAULTS = [
    ("GET .*/tree", CUT),
    ("GET .*/tree", 503),
    ("POST .*/preupload", 401),
    ("POST .*/preupload", 429),
    ("POST .*/batch", 403),
    ("PUT /lfs", CUT),
    ("PUT /lfs", 500),
    ("POST .*/commit", CUT),
    ("POST .*/commit", 403),
    ("POST .*/commit", 409),
    ("POST .*/commit", 429),
]


@pytest.mark.parametrize(("step", "status"), FAULTS)
def test_what_fails_is_one_line_and_goes_on_from_there(step: str, status: int, hub: Hub, tmp_path: Path) -> None:
    folder = made(tmp_path / "d")
    hub.fail(step, status, after=0 if "tree" in step or "batch" in step else 1)
    with pytest.raises(synth.SynthError) as stopped:
        push(folder)
    said = str(stopped.value)
    assert "\n" not in said and "hf_writer" not in said and len(said) < 600, said
    usage = status in (401, 403) and step != "PUT /lfs"
    assert isinstance(stopped.value, synth.UsageError) == usage or step == "PUT /lfs", said
    assert ("right" in said) if status == 403 and usage else True
    stored = set(hub.stored)
    hub.faults.clear()
    sent = hub.sent()
    push(folder)
    assert hub.sent() - sent == len(hub.stored) - len(stored), "what had arrived is not sent again"
    assert "run.json" in hub.repos[REPO].files and "progress.json" not in hub.repos[REPO].files


def test_a_server_that_fails_for_a_moment_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.fail("POST .*/preupload|PUT /lfs", 503, times=2)
    hub.fail("POST .*/batch", CUT, times=1)
    push(made(tmp_path / "d", 30))
    assert "run.json" in hub.repos[REPO].files


def test_tokens_that_do_not_do(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "d", 5)
    for token, words in (("hf_reader", "no right"), ("hf_forged", "does not take the token"), ("", "wants a token")):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(synth.UsageError, match=words) as refused:
            push(folder)
        assert not token or token not in str(refused.value)
    assert not hub.repos
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    push(folder)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(synth.UsageError, match="no right"):
        push(folder)


def test_a_server_that_repeats_the_token_or_moves_the_cursor(hub: Hub, tmp_path: Path) -> None:
    hub.fail("repos/create", 400, times=1, said="no hf_writer \u202e" + "x" * 2_000)
    with pytest.raises(synth.UsageError, match="refuses") as refused:
        push(made(tmp_path / "d", 5))
    said = str(refused.value)
    assert "hf_writer" not in said and "\u202e" not in said and len(said) < 400


@pytest.mark.parametrize("name", ["replay", "a/b/c", "ann/..", "ann/re play", "ann/x.git", "ann/" + "x" * 100, "/x"])
def test_names_that_cannot_be(name: str, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(synth.UsageError):
        synth.push(made(tmp_path / "d", 5), name)
    assert not hub.requests


def test_what_is_not_finished_is_refused(hub: Hub, tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 12)
    with pytest.raises(synth.UsageError, match="another run is writing"):
        push(tmp_path / "d")
    run.pause()
    with pytest.raises(synth.UsageError, match="not finished"):
        push(tmp_path / "d")
    part = RunDirectory.open(tmp_path / "part", RunRecord("test", {}, shard=asdict(Shard(1, 2))), BASE)
    fill(part, 5)
    part.finish()
    with pytest.raises(synth.UsageError, match=r"is a shard.*synth join"):
        push(tmp_path / "part")
    (tmp_path / "empty").mkdir()
    for other in (tmp_path / "empty", tmp_path / "nothing", tmp_path / "d" / "state.json"):
        with pytest.raises(synth.UsageError, match=r"holds no data set|is no directory"):
            push(other)
    assert not hub.requests


def test_a_name_that_is_taken(hub: Hub, tmp_path: Path) -> None:
    push(made(tmp_path / "d", 30, seed=1))
    other = made(tmp_path / "other", 12, seed=2)
    with pytest.raises(synth.UsageError, match=r"another run \(seed: 1, now 2\).*--force"):
        push(other)
    push(other, force=True)
    assert json.loads(hub.text(REPO, "run.json"))["settings"] == {"seed": 2}
    rows = [path for path in hub.repos[REPO].files if path.startswith("data/")]
    assert rows == ["data/train-00000-of-00001.parquet"]
    hub.repos[REPO].files = {"notes.txt": b"mine", "README.md": b"# Mine"}
    with pytest.raises(synth.UsageError, match="something else"):
        push(other)
    hub.repos[REPO].files = {".gitattributes": b"", "README.md": b"---\nlicense: mit\n---\n# Mine"}
    push(other)  # made on the website, and empty
    assert metadata(hub)["license"] == "mit"


def test_a_public_repository_is_refused_unless_that_is_asked(hub: Hub, tmp_path: Path) -> None:
    folder = made(tmp_path / "d", 5)
    push(folder, public=True)
    commits = list(hub.repos[REPO].commits)
    with pytest.raises(synth.UsageError, match=r"ann/replay is public.*give `public`"):
        push(made(folder, 12))
    assert hub.repos[REPO].commits == commits
    push(folder, public=True)


def test_fewer_rows_do_not_replace_more(hub: Hub, tmp_path: Path) -> None:
    push(made(tmp_path / "d", 30))
    fewer = made(tmp_path / "fewer", 12)
    with pytest.raises(synth.UsageError, match=r"more rows of this run \(24, here \d+\).*--force"):
        push(fewer)
    push(fewer, force=True)
    assert json.loads(hub.text(REPO, "run.json"))["next"] == 12


def test_what_is_half_replaced_does_not_pass_as_whole(hub: Hub, tmp_path: Path) -> None:
    folder = made(tmp_path / "d", 10)
    push(folder)
    before = {path for path in hub.repos[REPO].files if path.startswith("data/")}
    hub.fail("POST .*/commit", 403, after=1)
    with pytest.raises(synth.UsageError, match="no right"):
        push(made(folder, 14))  # in a file of the same name
    there = hub.repos[REPO]
    assert before <= there.files.keys() and there.commits[-1] == "synth push: begin"
    assert "run.json" not in there.files and json.loads(hub.text(REPO, "progress.json"))["next"] == 14
    hub.faults.clear()
    push(folder)
    assert "run.json" in there.files and "progress.json" not in there.files


def test_a_full_disk(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "d", 60)
    monkeypatch.setattr(pushing, "BATCH_BYTES", 1)  # one file a commit

    class Full(Parquet):
        def close(self) -> None:
            super().close()
            if hub.sent() > 1:
                raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(tables, "Parquet", Full)
        with pytest.raises(synth.RunError, match=r"No space left on device\. Free some space or set TMPDIR"):
            push(folder)
    assert hub.sent() == 2
    push(folder)
    assert hub.sent() == sum(path.endswith(".parquet") for path in hub.repos[REPO].files)


def test_text_of_models_does_nothing_to_the_card(hub: Hub, tmp_path: Path) -> None:
    run = open_at(tmp_path / "d", prompt=HOSTILE)
    for index in range(4):
        method = f"a|b {HOSTILE}" if index % 2 else "plain"
        row = Row(f"{HOSTILE} {index}", [{"role": "user", "content": HOSTILE}], method, samples=1)
        run.commit(Outcome(row, HOSTILE if index == 3 else None))
    run.finish()
    push(tmp_path / "d")
    text = hub.text(REPO, "README.md")
    assert metadata(hub)["license"] == "unknown"
    outside, fence = [], ""
    for line in text.split("---\n", 2)[2].splitlines():
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if len(ticks) > 2 and (not fence or line == fence):
            fence = "" if fence else ticks
        elif not fence:
            outside.append(line)
    assert not fence
    assert not [line for line in outside if re.search(r"(^|[^\\])(<script|\[x\]\()|^# Owned", line)], outside
    rows = [line for line in outside if line.startswith("| ") and "plain" in line]
    assert rows == ["| plain | 2 |"]
