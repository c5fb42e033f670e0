"""`synth train --method`: from the command line to the report, with evaluations, a kill and a refusal."""

import json
from pathlib import Path

import pytest

from samples import skills
from tests.cli.running import of_libraries, start_and_kill
from tests.conftest import Here

pytest.importorskip("trl")
FAST = ("--device", "cpu", "--dtype", "float32", "--batch-tokens", 400)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, and a suite."""
    folder = tmp_path_factory.mktemp("methods")
    found = list(skills.suite("strings", "train", 12))
    pairs = [{"prompt": question, "chosen": answer, "rejected": f"{answer} No."} for question, answer in found]
    suite = [{"question": question, "answer": answer, "verifier": "exact"} for question, answer in found[:4]]
    for name, rows in (("pairs", pairs), ("suite", suite)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_preferences_from_pairs_to_the_report(here: Here, files: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "preferred"
    command = ["train", files / "pairs.jsonl", "--model", model, "--method", "dpo", *FAST, "--lr", 1e-4, "--steps", 6]
    command += ["--save-every", 1, "--eval", files / "suite.jsonl", "--eval-every", 3, "--eval-tokens", 16, "-o", out]
    start_and_kill(command, out / "log.jsonl", 3)
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert "continuing from checkpoint-" in done.stderr and "dpo, by TRL" in done.stderr
    assert not of_libraries(done.stderr)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3, 4, 5, 6]
    assert [entry["step"] for entry in log if "evaluation" in entry] == [0, 3, 6]
    margins = [entry["rewards/margins"] for entry in log if "loss" in entry]
    assert margins[-1] > margins[0] == pytest.approx(0, abs=1e-5)
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["method"] == "dpo" and record["versions"]["trl"]
    card = (out / "README.md").read_text()
    assert "- method: dpo\n- beta: 0.1\n" in card and "| 6 |" in card
    page = tmp_path / "page.html"
    assert here("report", out, "-o", page).returncode == 0
    drawn = page.read_text()
    assert "Reward margin" in drawn and "Pairs told apart" in drawn and "nats a token" not in drawn
    assert "- method: dpo" in here("show", out).stdout
    other = here(*command[:-2], "--beta", 0.2, "-o", out)
    assert other.returncode == 2 and "(beta: 0.1, now 0.2)" in other.stderr


def test_refusals_name_options_before_anything_is_read(here: Here, files: Path, model: str, tmp_path: Path) -> None:
    pairs, suite = files / "pairs.jsonl", files / "suite.jsonl"
    dry = ("--model", model, "--dry-run")
    for options, said in (
        (("--method", "dpo", "--kl", 0.1), "--kl does not go with --method dpo"),
        (("--method", "ipo", "--replay", suite), "--replay does not go with --method ipo"),
        (("--method", "dpo", "--reference-top-k", 8), "--reference-top-k does not go with --method dpo"),
        (("--method", "dpo", "--replay-loss", "kl"), "--replay-loss does not go with --method dpo"),
        (("--method", "distil"), "name it with --teacher"),
        (("--beta", 0.1), "--beta does not go with --method sft"),
        ((), "holds preference pairs (`chosen`, `rejected`): --method dpo, ipo or simpo"),
    ):
        done = here("train", pairs, *options, *dry)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    done = here("train", suite, "--method", "dpo", *dry)
    assert done.returncode == 2 and "takes preference pairs" in done.stderr
    done = here("train", suite, "--method", "distil", "--teacher", model, *dry)
    assert done.returncode == 2 and "an answer of 512 (--max-tokens), the window holds 512" in done.stderr
    done = here("train", suite, "--method", "distil", "--teacher", model, "--max-tokens", 64, *dry)
    assert done.returncode == 0 and "with up to 64 tokens" in done.stdout
    rewards = ("--reward", "exact", "--reward", "length:max=20", "--reward-weight", 1, "--reward-weight", -0.5)
    done = here("train", suite, "--method", "grpo", *rewards, "--max-tokens", 64, *dry)
    assert done.returncode == 0 and "each 8 times" in done.stdout and "4 by exact" in done.stderr, done.stderr
