"""Rewards of `synth` in TRL's own GRPO trainer: the sample model and its new skill, on a CPU.

    python -m samples.grpo_rewards [--steps 20] [--folder DIR]

A right answer is worth 1, one in the right form 0.2 more, and each word beyond forty costs up to 0.5.
"""

import argparse
import tempfile
from pathlib import Path

import synth
from samples import skills

MODEL = str(Path(__file__).parent / "model")


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, and give what the trainer has logged."""
    import datasets
    from trl import GRPOConfig, GRPOTrainer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", default=None)
    given = parser.parse_args(arguments)
    tasks = [
        {"prompt": [{"role": "user", "content": question}], "answer": answer}
        for question, answer in skills.suite("two_step", "train", 200)
    ]
    reward = synth.rewards(
        "math", "format", "length:max=40,unit=words", weights=[1, 0.2, 0.5], name="two_step", time_limit=5
    )
    trainer = GRPOTrainer(
        model=MODEL,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=given.folder or tempfile.mkdtemp(prefix="grpo-"),
            max_steps=given.steps,
            per_device_train_batch_size=16,
            num_generations=8,
            max_completion_length=64,
            learning_rate=1e-4,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
        ),
        train_dataset=datasets.Dataset.from_list(tasks),
    )
    trainer.train()
    reward.close()
    log: list[dict[str, float]] = trainer.state.log_history
    return log


if __name__ == "__main__":
    main()
