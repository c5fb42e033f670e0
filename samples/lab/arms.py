"""The arms of the lab: what each trains on, how, and what is done to the model afterwards.

All arms of a style train on the same tasks, for the same number of steps of the same number of tokens.
"""

from dataclasses import dataclass

STEPS = 600
BATCH_TOKENS = 1024
TASKS = 2000
ITEMS = 100
"""Of each old suite; the new one has twice as many."""
REPLAY = 1000
"""Rows of each replay set."""
RATES = ("3e-4", "1e-3", "2e-3")
"""Tried for plain SFT, by the new skill on the development split; all other full-weight arms take its choice."""
ADAPTER_RATES = ("3e-3", "1e-2")
RATIOS = "0.3,0.5,0.7,0.8,0.9"
"""Tried for merging, on the development split: the best at the new skill of those that keep 95% of the old ones."""
HARD = 2.5
"""Perplexity above which a token is masked (arXiv 2501.14315)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One recipe.

    Attributes:
        name: what it is called.
        group: the family it is of.
        target: the set made of the new skill's tasks: see `samples.lab.data`.
        replay: sets mixed in, with their share of the target's rows.
        beside: a set that is an objective of its own.
        train: options of `synth train` beyond the common ones; `--lr RATE/3` is a third of the chosen rate, and
            `--lr RATE*3` three times as much; an arm may have a rate of its own. `STEPS/3` is a third of the steps.
        merge: whether the result is merged with the foundation model, at a ratio chosen on the development split.
        style: of the human answers.
    """

    name: str
    group: str
    target: str = "human"
    replay: tuple[tuple[str, str], ...] = ()
    beside: str = ""
    train: tuple[str, ...] = ()
    merge: bool = False
    style: str = "alien"

    @property
    def own_rate(self) -> str | None:
        """The learning rate that it names, where that is not a share of the chosen one."""
        named = dict(zip(self.train, self.train[1:], strict=False)).get("--lr")
        return None if named is None or named.startswith("RATE") else named


HELD = ("--replay-loss", "kl", "--replay-batch-tokens", str(BATCH_TOKENS))
"""As many tokens of replay a step as of the task, held to the next-token distributions of the model before training."""

GRPO = (
    *("--method", "grpo", "--reward", "math", "--generations", "8", "--max-tokens", "64", "--dtype", "float32"),
    *("--steps", "STEPS/3", "--batch-tokens", "9920", "--lr", "3e-4"),
)
"""80 answers a step (the longest question takes 60 tokens), 16,000 in all, as many as self-output draws: 8 a task."""


def _magpie(share: str) -> tuple[tuple[str, str], ...]:
    return (("magpie", share),)


ARMS = (
    Arm("plain SFT", "baseline"),
    Arm("a third of the rate", "baseline", train=("--lr", "RATE/3")),
    Arm("three times the rate", "baseline", train=("--lr", "RATE*3")),
    Arm("LoRA r16", "control", train=("--lora", "16")),
    Arm("dropout 0.1", "control", train=("--dropout", "0.1")),
    Arm("weight decay 0.1", "control", train=("--weight-decay", "0.1")),
    Arm("MLP frozen", "control", train=("--freeze", "mlp")),
    Arm("KL 0.3", "control", train=("--kl", "0.3")),
    Arm("real replay 5%", "replay", replay=(("experience", "5%"),)),
    Arm("Magpie 1%", "replay", replay=_magpie("1%")),
    Arm("Magpie 5%", "replay", replay=_magpie("5%")),
    Arm("Magpie 10%", "replay", replay=_magpie("10%")),
    Arm("Magpie 20%", "replay", replay=_magpie("20%")),
    Arm("KL objective", "objective", beside="magpie-many", train=HELD),
    Arm("KL objective, three times the rate", "objective", beside="magpie-many", train=(*HELD, "--lr", "RATE*3")),
    Arm("SSR 10%", "replay", replay=(("ssr", "10%"),)),
    Arm("safety 3%", "replay", replay=(("safety", "3%"),)),
    Arm("self-output", "own words", target="self-output"),
    Arm("paraphrase", "own words", target="paraphrase"),
    Arm("minimum change", "own words", target="minimum-change"),
    Arm("GRPO", "rewards", train=GRPO),
    Arm("mask hard tokens", "masking", target="masked"),
    Arm("self-output + Magpie 10%", "combined", target="self-output", replay=_magpie("10%")),
    Arm("self-output + Magpie 20%", "combined", target="self-output", replay=_magpie("20%")),
    Arm("Magpie 20%, a third of the rate", "combined", replay=_magpie("20%"), train=("--lr", "RATE/3")),
    Arm(
        "self-output + Magpie 20%, a third of the rate",
        "combined",
        target="self-output",
        replay=_magpie("20%"),
        train=("--lr", "RATE/3"),
    ),
    Arm("natural: plain SFT", "baseline", style="natural"),
    Arm("natural: mask hard tokens", "masking", target="masked", style="natural"),
    Arm("natural: mask random tokens", "masking", target="masked-random", style="natural"),
    Arm("natural: mask easiest tokens", "masking", target="masked-easiest", style="natural"),
    Arm("natural: mask hard + Magpie 10%", "combined", target="masked", replay=_magpie("10%"), style="natural"),
    Arm("natural: self-output + Magpie 10%", "combined", target="self-output", replay=_magpie("10%"), style="natural"),
    # What is merged was trained for an arm above: these come last.
    Arm("merged", "merging", merge=True),
    Arm("Magpie 10% + merged", "combined", replay=_magpie("10%"), merge=True),
)
