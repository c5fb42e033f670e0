"""Rewards of a training, tried before a model is loaded."""

from collections.abc import Sequence
from typing import Any

from filters.verdict import RIGHT, UNSCORABLE, Verdict, VerifierSettings
from filters.verifiers import registry
from synth.background import wait_for
from synth.errors import UsageError
from synth.rl.judging import Judged
from synth.rl.parts import Means
from synth.rl.reward import Reward, reward_of
from synth.training.method import CHECK, MethodSettings

TRIED = 20
"""Rows whose references are judged."""


def reward_for(method: MethodSettings) -> Reward:
    """The reward that a method's settings name. Nothing is started yet.

    Raises:
        UsageError: there is no such part, or it cannot work with these settings, or here.
    """
    limits = VerifierSettings("", CHECK if method.time_limit is None else method.time_limit)
    try:
        return reward_of(method.reward, Means(limits), method.reward_weights or None)
    except UsageError as error:
        raise UsageError(str(error).replace("`rewards`", "`reward`").replace("`weights`", "`reward_weights`")) from None


def try_reward(reward: Reward, asked: Sequence[dict[str, Any]]) -> str | None:
    """Judge the references of the first rows, as if they were answers.

    Args:
        reward: judges answers.
        asked: of each row the prompt, and the columns that answers are judged by.

    Returns:
        What came of it, in a line; None where no verifier judges.

    Raises:
        UsageError: none of them can be judged, or none is right although a reference is a right answer to the verifier:
            it is the wrong one, or the column is. Or it cannot be started.
    """
    first = asked[:TRIED]
    columns = {name: [one[name] for one in first] for name in first[0] if name != "prompt"}
    references = [str(one.get("reference") or "") for one in first]
    prompts, no_tokens = [one["prompt"] for one in first], [()] * len(first)
    found = wait_for(reward.scored(prompts, references, no_tokens, columns))
    judges = [part for part in reward.parts if isinstance(part, Judged)]
    for part, verdicts in zip(judges, found.verdicts.values(), strict=True):
        stands = bool(part.settings.name) and registry.entry_of(part.settings.name).gold == "reference"
        if fault := _fault(verdicts, stands=stands):
            raise UsageError(
                f"`reward` {part.name} judges none of the first {len(first)} references right ({fault}). Is it the "
                "right one, and is the reference in the right column (`reference_column`)?"
            )
    right = (f"{sum(one.kind == RIGHT for one in of):,} by {name}" for name, of in found.verdicts.items())
    return f"of the first {len(first)} references right: {', '.join(right)}" if judges else None


def _fault(verdicts: Sequence[Verdict], *, stands: bool) -> str | None:
    """What is wrong with the first of them, where nothing can come of any."""
    if any(verdict.kind == RIGHT or (verdict.kind != UNSCORABLE and not stands) for verdict in verdicts):
        return None
    first = verdicts[0]
    return f"row 0: {first.kind}, {first.reason or f'its answer is read as {first.answer!r}'}"
