"""`synth train --replay` with conversations that the chat template writes otherwise than they stand."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Here

FAST = ("--device", "cpu", "--dtype", "float32", "--batch-tokens", 128)
WHY = "the chat template does not write a message as it stands"
REWRITTEN = (("What is  it?", "It is  seven."), ("And  now?", "It is  eight."))


@pytest.fixture
def tidying(model: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The sample model, whose template makes one space of two in what one role says."""
    folder = tmp_path / "tidying"
    shutil.copytree(model, folder)
    template = folder / "chat_template.jinja"
    tidied = "message['content'] | replace('  ', ' ')"
    content = f"({tidied} if message['role'] == '{request.param}' else message['content'])"
    template.write_text(template.read_text().replace("message['content']", content))
    return folder


def write(file: Path, *pairs: tuple[str, str]) -> Path:
    rows = ([{"role": "user", "content": one}, {"role": "assistant", "content": other}] for one, other in pairs)
    file.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in rows))
    return file


@pytest.mark.parametrize(
    ("tidying", "loss", "message"),
    [("assistant", "nll", 2), ("user", "nll", 1), ("user", "kl", 1)],
    indirect=["tidying"],
)
def test_what_the_template_rewrites_is_rejected_with_the_reason(
    here: Here, tidying: Path, loss: str, message: int, tmp_path: Path
) -> None:
    tasks = write(tmp_path / "tasks.jsonl", ("1 + 1?", "2"), ("2 + 2?", "4"))
    mixed = write(tmp_path / "mixed.jsonl", ("3 + 3?", "6"), *REWRITTEN)
    train = ("train", tasks, "--model", tidying, *FAST, "--steps", 1, "--replay-loss", loss, "--replay")
    out = tmp_path / "out"
    done = here(*train, mixed, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "replay: 1 rows" in done.stderr
    assert f"2 left out: {WHY}" in done.stderr
    record = json.loads((out / "run.json").read_text())
    assert (record["accepted"], record["rejected"]) == (2, 2) and record["parts"][0]["rows"] == 1
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == 2 and all(f"{WHY}: message {message} (" in row["reason"] for row in rejected)
    all_of_it = write(tmp_path / "all.jsonl", *REWRITTEN)
    done = here(*train, all_of_it, "-o", tmp_path / "none")
    assert done.returncode == 2 and not (tmp_path / "none").exists()
    assert WHY in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("tidying", ["assistant"], indirect=True)
def test_a_divergence_is_taken_on_answers_as_the_template_writes_them(
    here: Here, tidying: Path, tmp_path: Path
) -> None:
    """It has no words to learn: the model before training says how they go on, whoever wrote them."""
    tasks = write(tmp_path / "tasks.jsonl", ("1 + 1?", "2"))
    replay = write(tmp_path / "replay.jsonl", REWRITTEN[0])
    done = here("train", tasks, "--model", tidying, *FAST, "--replay", replay, "--replay-loss", "kl", "--dry-run")
    assert done.returncode == 0 and "left out" not in done.stdout
    assert "It is seven." in done.stdout.replace("\n", "")
