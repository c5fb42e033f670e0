"""`synth score-tokens --entropy`: entropies and ranks of tokens, and masks of confident conflicts."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from tests.cli.test_score_tokens import Synth, load, synth, talks

__all__ = ["synth", "talks"]  # fixtures


def test_entropies_and_ranks_are_those_of_a_plain_forward(
    synth: Synth, model: str, talks: Path, tmp_path: Path
) -> None:
    scored, masked = tmp_path / "scored", tmp_path / "masked"
    status, _, err = synth("score-tokens", talks, "--model", model, "--entropy", "-o", scored, "--limit", 20)
    assert status == 0 and "mean entropy" in err and "the likeliest" in err
    rows = load(scored)
    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    entropies: list[float] = []
    for row in rows:
        with torch.inference_mode():
            logs = plain(input_ids=torch.tensor([row["input_ids"]])).logits[0].double().log_softmax(-1)
        assert len(row["entropies"]) == len(row["ranks"]) == len(row["logprobs"])
        for place, (logprob, entropy, rank) in enumerate(
            zip(row["logprobs"], row["entropies"], row["ranks"], strict=True)
        ):
            assert (entropy is None) == (rank is None) == (logprob is None)
            if logprob is None:
                continue
            before = logs[place - 1]
            assert entropy == pytest.approx(float(-(before.exp() * before).sum()), abs=1e-4)
            ahead = before - before[row["input_ids"][place]]
            assert 1 + int((ahead > 1e-3).sum()) <= rank <= 1 + int((ahead > -1e-3).sum())
            entropies.append(entropy)
    record = json.loads((scored / "run.json").read_text())
    assert record["settings"]["entropy"] and record["tokens"]["entropy"] == pytest.approx(sum(entropies), rel=1e-5)
    card = (scored / "README.md").read_text()
    assert "mean entropy" in card and '"entropies"' not in card

    # What was scored with entropies keeps them, whatever mask is chosen later, and needs no model.
    for mask in (["--mask-confident-conflicts", "30%"], ["--mask-above", "2.5"]):
        done = synth("score-tokens", scored, "--model", model, *mask, "-o", masked, "--restart")
        assert done[0] == 0 and "nothing is loaded" in done[2]
        again = load(masked)
        assert [row["entropies"] for row in again] == [row["entropies"] for row in rows]
        assert [row["ranks"] for row in again] == [row["ranks"] for row in rows]
    # What was scored without them is scored anew where they are wanted.
    assert synth("score-tokens", talks, "--model", model, "-o", tmp_path / "bare", "--limit", 3)[0] == 0
    assert "entropies" not in load(tmp_path / "bare")[0]
    done = synth("score-tokens", tmp_path / "bare", "--model", model, "--entropy", "-o", tmp_path / "more")
    assert done[0] == 0 and "loading" in done[2]
    assert [row["entropies"] for row in load(tmp_path / "more")] == [row["entropies"] for row in rows[:3]]


@pytest.mark.parametrize("over", ["row", "corpus"])
def test_confident_conflicts_are_masked(synth: Synth, model: str, talks: Path, tmp_path: Path, over: str) -> None:
    out, share = tmp_path / "out", 0.3
    options = ["--mask-confident-conflicts", "30%", "--mask-over", over, "--protect", "end-of-turn"]
    status, _, err = synth("score-tokens", talks, "--model", model, *options, "-o", out)
    assert status == 0, err
    rows = load(out)
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert settings["mask_confident_conflicts"] == share and settings["mask_over"] == over
    groups = [[row] for row in rows] if over == "row" else [rows]
    masked = 0
    for group in groups:
        entropies = sorted(value for row in group for value in row["entropies"] if value is not None)
        logprobs = sorted(value for row in group for value in row["logprobs"] if value is not None)
        count = int(share * len(entropies) + 0.5)
        for row in group:
            scored = [place for place, value in enumerate(row["logprobs"]) if value is not None]
            for place in scored:
                surest = row["entropies"][place] <= entropies[count - 1]
                conflict = surest and row["logprobs"][place] <= logprobs[count - 1] and place != scored[-1]
                assert (row["labels"][place] == -100) == conflict
                masked += conflict
    assert masked and f"{masked:,} masked" in err
    if over == "row":
        shown = synth("show", out, "-n", 1)[1]
        assert "entropy" in shown and "the likeliest" in shown
        status, preview, _ = synth("score-tokens", out, "--model", model, *options, "--preview")
        assert status == 0 and f"{'conflicts 30%':<24}" in preview and "conflicts 15%" in preview
        clean, mixed = tmp_path / "clean", tmp_path / "mixed"
        assert synth("filter", out, "--limit", 20, "--dedup", "exact", "-o", clean)[0] == 0
        status, _, err = synth("mix", clean, "--replay", f"{out}:50%", "-o", mixed)
        assert status == 0, err
        kept = [(row["entropies"], row["ranks"]) for row in load(mixed)]
        assert len(kept) == 30 and all(pair in [(row["entropies"], row["ranks"]) for row in rows] for pair in kept)


@pytest.mark.parametrize("option", [["--entropy"], ["--mask-confident-conflicts", "15%"]])
@pytest.mark.parametrize("engine", ["http://127.0.0.1:9", "synth.engines.hf.engine:open_transformers"])
def test_engines_that_give_no_entropies_are_refused(
    synth: Synth, model: str, talks: Path, tmp_path: Path, option: list[str], engine: str
) -> None:
    done = synth("score-tokens", talks, "--model", model, "--engine", engine, *option, "-o", tmp_path / "out")
    assert done[0] == 2 and "--entropy" in done[2] and engine in done[2] and not (tmp_path / "out").exists()
