"""Rewards by import path, for trainers that are told of them by name.

    trl grpo --reward_funcs synth.reward_functions.math …

Every verifier is here by its name, with underscores (`function_call`); `verifier` is whichever each row names. With
`_verl`, `_openrlhf` or `_verifiers` after it (`math_verl`) it has the signature that these call (`synth.rl.adapters`).

They judge with the settings that `synth.rewards` has by default. For others, put a reward into a module of your own,
and name that: `reward = synth.rewards(…)`, or `compute_score = for_verl(synth.rewards(…))` with a function from here.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from filters.verifiers import registry
from synth.api.rewards import rewards
from synth.rl.adapters import for_openrlhf, for_verifiers, for_verl
from synth.rl.judging import BY_ROW
from synth.rl.reward import Reward

__all__ = ["for_openrlhf", "for_verifiers", "for_verl"]

_VERIFIERS = {name.replace("-", "_"): name for name, entry in registry.VERIFIERS.items() if not entry.asks_model}
_VERIFIERS[BY_ROW] = BY_ROW
_SHAPES: dict[str, Callable[[Reward], Any]] = {
    "": lambda reward: reward,
    "_verl": for_verl,
    "_openrlhf": for_openrlhf,
    "_verifiers": for_verifiers,
}
_NAMES = {verifier + shape: (verifier, shape) for shape in _SHAPES for verifier in _VERIFIERS}


@cache
def _made(verifier: str, shape: str) -> Any:
    return _SHAPES[shape](_made(verifier, "") if shape else rewards(_VERIFIERS[verifier]))


def __getattr__(name: str) -> Any:
    """The reward of a verifier."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are: {', '.join(_VERIFIERS)}")
    return _made(*_NAMES[name])


def __dir__() -> list[str]:
    return [*globals(), *_NAMES]
