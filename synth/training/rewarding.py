"""Rewards of a training, tried before a model is loaded."""

from collections.abc import Sequence
from typing import Any

from filters.verdict import RIGHT, WRONG, Verdict, VerifierSettings
from filters.verifiers import registry
from synth.background import wait_for
from synth.errors import UsageError
from synth.rl.judging import Judged
from synth.rl.likelihood import LOGPROB
from synth.rl.parts import Means
from synth.rl.reward import Reward, reward_of
from synth.training.method import CHECK, MethodSettings

TRIED = 20
"""Rows whose references are judged."""

_ASKING = {LOGPROB, *(name for name, entry in registry.VERIFIERS.items() if entry.asks_model)}
"""Parts that need a model of their own."""


def reward_for(method: MethodSettings) -> Reward:
    """The reward that a method's settings name. Nothing is started yet.

    Raises:
        UsageError: there is no such part, or it cannot work with these settings, or here.
    """
    if asking := next((part for part in method.reward if part in _ASKING), None):
        raise UsageError(
            f"`reward` {asking} needs a model of its own, for which there is no setting here: give synth.rewards to "
            "TRL's trainer instead"
        )
    limits = VerifierSettings("", CHECK if method.time_limit is None else method.time_limit)
    try:
        return reward_of(method.reward, Means(limits), method.reward_weights or None)
    except UsageError as error:
        raise UsageError(str(error).replace("`rewards`", "`reward`").replace("`weights`", "`reward_weights`")) from None


def try_reward(reward: Reward, asked: Sequence[dict[str, Any]]) -> str | None:
    """Judge the references of the first rows, as if they were answers; nothing said, where a row has none.

    Args:
        reward: judges answers.
        asked: of each row the prompt, and the columns that answers are judged by.

    Returns:
        What came of it, in a line; None where there is nothing to tell.

    Raises:
        UsageError: none of them can be judged, or none is right although a reference is a right answer to the verifier:
            it is the wrong one, or the column is. Or it cannot be started.
    """
    first = asked[:TRIED]
    given = [one.get("reference") is not None for one in first]
    columns = {name: [one[name] for one in first] for name in first[0] if name != "prompt"}
    references = [str(one.get("reference") or "") for one in first]
    prompts, no_tokens = [one["prompt"] for one in first], [()] * len(first)
    found = wait_for(reward.scored(prompts, references, no_tokens, columns))
    judges = [part for part in reward.parts if isinstance(part, Judged)]
    right = []
    for part, (name, verdicts) in zip(judges, found.verdicts.items(), strict=True):
        entry = registry.VERIFIERS.get(part.settings.name)  # none of the user's own: they may want a form around it
        if entry is not None and entry.votes:  # one answer by itself says nothing
            continue
        stands = entry is not None and entry.gold == "reference"
        if fault := _fault(verdicts, [stands and has for has in given]):
            raise UsageError(
                f"`reward` {part.name} judges none of the first {len(first)} references right ({fault}). Is it the "
                "right one, and is the reference in the right column (`reference_column`)?"
            )
        right.append(f"{sum(one.kind == RIGHT for one, has in zip(verdicts, given, strict=True) if has):,} by {name}")
    return f"of the first {sum(given)} references right: {', '.join(right)}" if right and any(given) else None


def _fault(verdicts: Sequence[Verdict], stand: Sequence[bool]) -> str | None:
    """What is wrong with the first of them, where nothing can come of any. Those that `stand` are right answers."""
    pairs = zip(verdicts, stand, strict=True)
    if any(verdict.kind == RIGHT or (verdict.kind == WRONG and not stands) for verdict, stands in pairs):
        return None
    first = verdicts[0]
    return f"row 0: {first.kind}, {first.reason or f'its answer is read as {first.answer!r}'}"
