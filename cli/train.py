"""`synth train`."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cli.command import Call, command_of, told
from cli.help import GROUPS, Command
from cli.options import DIRECTORY, Option


class Training(Command):
    """Has more options of its own than the others, in groups, too."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "Methods beside fine-tuning": (
            *("method", "beta", "teacher", "temperature", "max_tokens", "reward", "reward_weights", "generations"),
            *("rollout_engine", "time_limit"),
        ),
        "Steps and batches": (
            *("steps", "epochs", "learning_rate", "schedule", "warmup", "tokens_per_batch", "overlong"),
            *("gradient_accumulation_steps", "max_grad_norm", "weight_decay", "dropout", "save_every", "seed"),
        ),
        "What is trained": ("freeze", "lora", "lora_alpha", "lora_dropout", "peft"),
        "Losses": ("loss", "eaft_alpha", "lm_loss_coef", "kl_coef", "kl_sources", "reference_top_k"),
        "Replay as an objective of its own": (
            *("replay", "replay_sources", "replay_tokens_per_batch", "replay_weight", "replay_loss"),
            *("replay_positions", "replay_length", "replay_engine"),
        ),
        "Memory": ("quantise", "gradient_checkpointing", "weights", "optimizer"),
        "Evaluation meanwhile": ("suites", "new_suites", "eval_every", "eval_limit", "eval_tokens", "keep"),
        **GROUPS,
    }


@command_of(
    "synth.api.train:train",
    pushed="model",
    output=DIRECTORY,
    teacher=Option(metavar="MODEL"),
    reward_weights=Option(("--reward-weight",), metavar="NUMBER"),
    learning_rate=Option(("--lr", "--learning-rate")),
    tokens_per_batch=Option(("--batch-tokens", "--tokens-per-batch")),
    gradient_accumulation_steps=Option(("--accumulate", "--gradient-accumulation-steps")),
    max_grad_norm=Option(("--clip", "--max-grad-norm")),
    freeze=Option(metavar="PART"),
    lora=Option(metavar="RANK"),
    peft=Option(metavar="FILE"),
    lm_loss_coef=Option(("--lm-loss", "--lm-loss-coef")),
    kl_coef=Option(("--kl", "--kl-coef")),
    kl_sources=Option(("--kl-on",), metavar="SOURCE"),
    replay=Option(metavar="SET|fresh"),
    replay_sources=Option(("--replay-on",), metavar="SOURCE"),
    replay_tokens_per_batch=Option(("--replay-batch-tokens", "--replay-tokens-per-batch")),
    suites=Option(("--eval",), metavar="SUITE"),
    new_suites=Option(("--new",), metavar="SUITE"),
    kind=Training,
)
def command(call: Call) -> None:
    """Train a model on a data set, and measure what it learns and forgets.

    Rows may be conversations, plain texts, which are trained on whole, or tokens with `labels` (and `weights`), as
    `synth score-tokens` writes them; with --method, preference pairs, or prompts that the model answers itself. The
    trained model is saved in DIR as any model is, an adapter merged into it. A killed run is continued by the same
    command, with the same result. Several GPUs: accelerate launch -m cli train …, or torchrun -m.

    \b
    Examples:
      synth train mixed --model M --dry-run
      synth train mixed --model M -o tuned --epochs 2 --lr 1e-5
      synth train mixed --model M -o tuned --weights bfloat16 --optimizer adamw-8bit --gradient-checkpointing
      synth train mixed --model M -o tuned --lora 16 --quantise 4bit --gradient-checkpointing
      synth train mixed --model M -o tuned --lora 16 --eval old.jsonl --new task.jsonl --keep 95%
      synth train human --model M -o tuned --loss eaft
      synth train masked --model M -o tuned --kl 0.1 --kl-on replay
      synth train tasks.jsonl --model M -o tuned --replay replay --replay-loss kl
      synth train tasks.jsonl --model M -o tuned --replay replay --replay-loss kl --reference-top-k 64
      synth train tasks.jsonl --model M -o tuned --replay fresh --replay-loss kl
      synth train mixed --model M -o tuned --replay-on magpie --replay-loss kl --replay-weight 3
      synth train pages.parquet --model M -o tuned --text-column body --batch-tokens 32768
      synth train own/pairs --model M -o preferred --method dpo --eval old.jsonl
      synth train replay --model tuned -o healed --method distil --teacher M
      synth train gsm8k.jsonl --model M -o better --method grpo --reward math --eval old.jsonl --keep 95%
      synth train human --model M -o control --freeze layers:0-11 --weight-decay 0.1 --dropout 0.1
    """  # noqa: D301 (\b is click's)
    from synth.reports.terminal.plan import print_plan

    training = call()
    if call.given["dry_run"]:
        print_plan(training.plan, told().options)
