"""TRL's trainers take the rewards as they are: real steps of GRPO and RLOO with the sample model."""

import importlib
from pathlib import Path
from typing import Any

import pytest

import synth

pytest.importorskip("trl")

MATH = {"reference": "4", "tests": None}
CODE = {"reference": None, "tests": ["assert f(3) == 9"]}
NEITHER = {"reference": None, "tests": None}


def rows(*given: tuple[str, dict[str, Any]]) -> Any:
    import datasets

    return datasets.Dataset.from_list(
        [{"prompt": [{"role": "user", "content": text}], **columns} for text, columns in given]
    )


def settings(kind: Any, folder: Path) -> Any:
    return kind(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=6,
        num_generations=2,
        max_completion_length=8,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        log_completions=True,
        shuffle_dataset=False,
    )


def test_a_step_of_grpo(model: str, tmp_path: Path) -> None:
    """As `trl grpo --reward_funcs synth.reward_functions.math synth.reward_functions.code` finds them."""
    from trl import GRPOConfig, GRPOTrainer

    module = importlib.import_module("synth.reward_functions")
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[module.math, module.code, synth.rewards("math", "length:max=4", weights=[1, 0.5], name="short")],
        args=settings(GRPOConfig, tmp_path),
        train_dataset=rows(("What is 2 + 2?", MATH), ("Square a number.", CODE), ("Write a poem.", NEITHER)),
    )
    trainer.train()
    [logged, *_] = trainer.state.log_history
    assert {"rewards/math/mean", "rewards/code/mean", "rewards/short/mean"} <= logged.keys()
    assert logged["rewards/math/unscorable"] == logged["rewards/code/unscorable"] == pytest.approx(2 / 3)
    assert -1.0 <= logged["rewards/short/length"] <= 0.0
    table = trainer._logs["extra"]
    assert len(table["short/length"]) == 6
    for verifier in ("math", "code"):
        kinds = [verdict.partition(":")[0] for verdict in table[f"{verifier}: verdict"]]
        assert len(kinds) == 6 and kinds.count("unscorable") == 4


def test_a_step_of_rloo_that_awaits(model: str, tmp_path: Path) -> None:
    from trl import RLOOConfig, RLOOTrainer

    by_row = synth.rewards(name="task").asynchronous()
    dataset = rows(("What is 2 + 2?", MATH), ("Square a number.", CODE), ("Add one.", CODE))
    trainer = RLOOTrainer(
        model=model,
        reward_funcs=[by_row, synth.rewards("repetition").asynchronous()],
        args=settings(RLOOConfig, tmp_path),
        train_dataset=dataset.add_column("verifier", ["math", "code", "code"]),
    )
    trainer.train()
    assert {"rewards/task/mean", "rewards/repetition/mean"} <= trainer.state.log_history[0].keys()
    by_row.reward.close()


def test_the_example(tmp_path: Path) -> None:
    from samples.grpo_rewards import main

    [logged, *_] = main(["--steps", "1", "--folder", str(tmp_path)])
    assert logged["rewards/two_step/math"] <= logged["rewards/two_step/format"] <= 1.0
    assert logged["rewards/two_step/math/unscorable"] == 0.0
