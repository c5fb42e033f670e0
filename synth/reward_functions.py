"""Rewards by import path, for trainers that are told of them by name.

    trl grpo --reward_funcs synth.reward_functions.math …

Every verifier is here by its name, with underscores (`function_call`); `verifier` is whichever each row names. They
judge with the settings that `synth.rewards` has by default; for others, put `reward = synth.rewards(…)` into a module
of your own, and name that.
"""

from functools import cache

from filters.verifiers import registry
from synth.api.rewards import rewards
from synth.rl.judging import BY_ROW
from synth.rl.reward import Reward

_NAMES = {name.replace("-", "_"): name for name, entry in registry.VERIFIERS.items() if not entry.asks_model}
_NAMES[BY_ROW] = BY_ROW


@cache
def _reward(name: str) -> Reward:
    return rewards(name)


def __getattr__(name: str) -> Reward:
    """The reward of a verifier."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are: {', '.join(_NAMES)}")
    return _reward(_NAMES[name])


def __dir__() -> list[str]:
    return [*globals(), *_NAMES]
