"""Settings as the first release recorded them, and the runs of today that go on with those."""

import json
from pathlib import Path
from typing import Any

import pytest

from synth.data.run.earlier import DROPPED, RENAMED
from synth.data.run.record import RunRecord, differences, read_record
from synth.engines.base import Sampling
from synth.methods.magpie import MagpieSettings
from synth.methods.rate import RateSettings
from synth.methods.reason import ReasonSettings
from synth.methods.rephrase import RephraseSettings
from synth.methods.self_output import SelfOutputSettings
from synth.methods.ssr import SsrSettings
from synth.training.card import told_of
from synth.training.settings import TrainingSettings

DRAWN: dict[str, Any] = {"top_k": None, "n": 1, "seed": 0, "stop_ids": [], "stop": [], "logprob": False}
SAMPLING = {"max_tokens": 64, "temperature": 0.7, "top_p": 0.95, **DRAWN}
DREW = Sampling(max_tokens=64, temperature=0.7, top_p=0.95)
MODEL = {"prefix": None, "stop": None, "dtype": "auto", "max_length": None, "engine": "transformers"}
BEFORE = MODEL | {"revision": "230c36876812713eff39cbfd717cc87f"}
NOW = MODEL | {"revision": "31f4cd05b7920e9e4d55a85f37e6617f"}
"""The same model: what its weights are named by has changed."""
VERIFIER = {"name": "number", "seconds": 10.0, "memory": 1024, "unsafe": False}
VERIFIES = {"name": "number", "time_limit": 10.0, "memory_limit": 1024, "unsafe_no_sandbox": False}

MINIMUM_CHANGE = {"seed": 0, "prompt_name": "minimum-change", "floor": 0.5, "retries": 2, "sampling": SAMPLING}

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "magpie",
        {
            **BEFORE,
            **{"seed": 0, "turns": 1, "systems": [], "domains": ["sums"], "language": None},
            "question": {"max_tokens": 1024, "temperature": 1.0, "top_p": 1.0, **DRAWN},
            "answer": {"max_tokens": 64, "temperature": 0.0, "top_p": 1.0, **DRAWN},
        },
        NOW | MagpieSettings(domain=("sums",), answer=Sampling(max_tokens=64, temperature=0.0)).record(),
    ),
    (
        "ssr-inputs",
        {
            **BEFORE,
            **{"seed": 0, "clusters": 2, "input": "21f5"},
            "question": {"max_tokens": 512, "temperature": 0.9, "top_p": 0.6, **DRAWN},
            "answer": {"max_tokens": 2048, "temperature": 0.0, "top_p": 1.0, **DRAWN},
        },
        NOW | SsrSettings(clusters=2).record() | {"input": "21f5"},
    ),
    (
        "reason",
        {
            **BEFORE,
            **{"verifier": VERIFIER, "seed": 0, "samples": 3, "select": "shortest", "length_limit": None},
            **{"search": 0, "step_rollouts": 2, "step_unit": "line", "min_step_value": None, "sampling": SAMPLING},
            "markers": {"open": "<think>", "close": "</think>"},
        },
        NOW | {"verifier": VERIFIES} | ReasonSettings(samples=3, step_rollouts=2, sampling=DREW).record(),
    ),
    (
        "rate",
        {**BEFORE, "aspects": ["perplexity", "ifd"], "max_tokens": 512, "prompts": {}},
        NOW | RateSettings(("perplexity", "ifd")).record(),
    ),
    (
        "score-tokens",
        {
            **BEFORE,
            **{"scorer": "model 230c36876812713eff39cbfd717cc87f assistant", "protect": []},
            "mask": {"above": 2.5, "hardest": None, "which": "hardest", "over": "row", "seed": 0},
        },
        NOW
        | {"scorer": "model 31f4cd05b7920e9e4d55a85f37e6617f assistant", "protect": []}
        | {"mask": "hardest", "mask_above": 2.5, "mask_hardest": None, "mask_over": "row", "seed": 0},
    ),
    (
        "train",
        {
            **{"steps": 4, "epochs": 1.0, "rate": 1e-05, "schedule": "cosine", "warmup": 0.03, "budget": 512},
            **{"accumulate": 2, "decay": 0.01, "clip": 0.5, "language": 0.0, "nearness": 0.1, "near": ["replay"]},
            **{"dtype": "auto", "save_every": 200, "evaluate_every": 2, "keep": None, "checkpointing": False},
            **{"seed": 0, "exam": {"suites": {"rate": "5d0a"}, "new": []}},
        },
        {
            **TrainingSettings(
                steps=4,
                tokens_per_batch=512,
                gradient_accumulation_steps=2,
                weight_decay=0.01,
                max_grad_norm=0.5,
                kl_coef=0.1,
                kl_sources=("replay",),
                eval_every=2,
            ).record(),
            "kl_sources": ["replay"],
            "evaluation": {"suites": {"rate": "5d0a"}, "new": []},
        },
    ),
    ("eval", {**BEFORE, "suites": {"systems": "5d0a"}, "new": []}, NOW | {"suites": {"systems": "5d0a"}, "new": []}),
]


def written(path: Path, command: str, settings: dict[str, Any], **more: Any) -> RunRecord:
    """A record of the first release: it had no command line."""
    path.mkdir(exist_ok=True)
    record = {"command": command, "settings": settings, "model": "model", "next": 12, "shards": ["data-00000.arrow"]}
    (path / "run.json").write_text(json.dumps(record | more))
    read = read_record(path)
    assert read is not None
    return read


def today(command: str, settings: dict[str, Any]) -> RunRecord:
    return RunRecord(command, json.loads(json.dumps(settings)))


@pytest.mark.parametrize(("command", "earlier", "now"), CASES, ids=[command for command, *_ in CASES])
def test_a_run_of_the_first_release_is_the_same_run(
    command: str, earlier: dict[str, Any], now: dict[str, Any], tmp_path: Path
) -> None:
    assert differences(written(tmp_path, command, earlier), today(command, now)) == ""


def test_a_fallback_has_settings_of_its_own(tmp_path: Path) -> None:
    settings = SelfOutputSettings(samples=2, fallback=("minimum-change",), sampling=DREW)
    now: dict[str, Any] = NOW | {"verifier": VERIFIES, "few_shot": 0} | settings.record()
    own = now["minimum_change"]
    chosen = {"max_tokens": own["max_tokens"], "temperature": own["temperature"], "top_p": own["top_p"]}
    earlier = {
        **BEFORE,
        **{"verifier": VERIFIER, "seed": 0, "samples": 2, "select": "first", "fallback": ["minimum-change"]},
        **{"pairs": False, "few_shot": 0, "paraphrase": None, "sampling": SAMPLING},
        "minimum_change": MINIMUM_CHANGE | {"prompt": own["prompt"], "sampling": DRAWN | chosen},
    }
    assert differences(written(tmp_path, "self-output", earlier), today("self-output", now)) == ""


def test_what_was_changed_since_is_still_told(tmp_path: Path) -> None:
    _, earlier, now = CASES[0]
    found = differences(written(tmp_path, "magpie", earlier), today("magpie", now | {"max_tokens": 65, "domain": []}))
    assert found == 'domain: ["sums"], now []; max_tokens: 64, now 65'
    record = written(tmp_path, "magpie", BEFORE, command_line="synth magpie")
    assert "revision" in differences(record, today("magpie", NOW)), "newer releases name weights as this one does"


def test_names_of_today_stay(tmp_path: Path) -> None:
    """None of them is an earlier name of another setting."""
    for command, _, now in [*CASES, ("rephrase", {}, RephraseSettings().record())]:
        assert written(tmp_path, command, now, command_line=None).settings == json.loads(json.dumps(now)), command
    assert not set(RENAMED) & set(RENAMED.values())
    assert not any(DROPPED.fullmatch(name) for name in RENAMED.values())


def test_a_merge_of_the_first_release_is_told_of(tmp_path: Path) -> None:
    """It had no card, and a record with little in it."""
    settings: dict[str, Any] = {
        "base": "model",
        "tuned": "tuned",
        "add": None,
        "ratio": 0.5,
        "kept": [],
        "revisions": {},
    }
    (tmp_path / "run.json").write_text(json.dumps({"command": "merge", "settings": settings}))
    assert told_of(tmp_path) == "tuned and model, merged by synth merge"
