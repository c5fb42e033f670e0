"""Records of earlier releases: their settings by today's names, so that their runs can be continued."""

import re
from typing import Any

UNKNOWN = "?"
"""Stands for a setting that an earlier release recorded in a way that cannot be compared."""

RENAMED = {
    "aspects": "by",
    "domains": "domain",
    "styles": "style",
    "systems": "system",
    "question.max_tokens": "question_tokens",
    "question.temperature": "temperature",
    "question.top_p": "top_p",
    "answer.max_tokens": "max_tokens",
    "sampling.max_tokens": "max_tokens",
    "sampling.temperature": "temperature",
    "sampling.top_k": "top_k",
    "sampling.top_p": "top_p",
    "markers.open": "think_open",
    "markers.close": "think_close",
    "mask.which": "mask",
    "mask.above": "mask_above",
    "mask.hardest": "mask_hardest",
    "mask.over": "mask_over",
    "mask.seed": "seed",
    "verifier.memory": "verifier.memory_limit",
    "verifier.seconds": "verifier.time_limit",
    "verifier.unsafe": "verifier.unsafe_no_sandbox",
}
"""Earlier names of settings, those of nested ones with a dot. A fallback has settings of its own, named likewise."""

RENAMED_IN_MAGPIE = RENAMED | {
    "answer.temperature": "answer_temperature",
    "answer.top_p": "answer_top_p",
    "answer.logprob": "logprob",
}
RENAMED_IN_TRAINING = {
    "accumulate": "gradient_accumulation_steps",
    "batch_tokens": "tokens_per_batch",
    "budget": "tokens_per_batch",
    "checkpointing": "gradient_checkpointing",
    "clip": "max_grad_norm",
    "decay": "weight_decay",
    "evaluate_every": "eval_every",
    "exam": "evaluation",
    "kl": "kl_coef",
    "kl_on": "kl_sources",
    "language": "lm_loss_coef",
    "lm_loss": "lm_loss_coef",
    "near": "kl_sources",
    "nearness": "kl_coef",
    "rate": "learning_rate",
}

DROPPED = re.compile(
    r"(question|answer|sampling)\.(n|seed|stop|stop_ids|logprob)|(question|answer)\.top_k|answer\.(temperature|top_p)"
    r"|prompt_name"
)
"""Earlier settings that are no longer recorded, as they could not be chosen."""
_FALLBACKS = ("minimum_change", "paraphrase")
_LOCAL_DIGEST = re.compile(r"[0-9a-f]{32}")


def todays_settings(command: str, settings: dict[str, Any], *, digests: bool) -> dict[str, Any]:
    """The settings of a record by today's names; as they are where it has no earlier ones.

    Args:
        command: the command of the run.
        settings: as recorded.
        digests: whether the record is so old that it names local models by another digest than today.
    """
    flat = flattened(settings)
    todays: dict[str, Any] = {}
    for name, value in flat.items():
        new = _todays_name(command, name)
        if new is not None:
            todays[new] = UNKNOWN if digests and _names_local_model(new, value) else value
    return settings if todays == flat else todays


def flattened(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the fields of nested ones named as `outer.inner`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": deeper for inner, deeper in flattened(value).items()}
        else:
            flat[name] = value
    return flat


def _todays_name(command: str, name: str) -> str | None:
    """What a setting is called today; None where it is no longer recorded."""
    outer, dot, inner = name.partition(".")
    if command == "train":
        return RENAMED_IN_TRAINING.get(outer, outer) + dot + inner
    if outer == "suites":  # of an evaluation; they have any names
        return name
    fallback, own = (outer + dot, inner) if outer in _FALLBACKS else ("", name)
    renamed = RENAMED_IN_MAGPIE if command == "magpie" else RENAMED
    return None if DROPPED.fullmatch(own) and own not in renamed else fallback + renamed.get(own, own)


def _names_local_model(name: str, value: object) -> bool:
    return name == "scorer" or (
        name.endswith("revision") and isinstance(value, str) and _LOCAL_DIGEST.fullmatch(value) is not None
    )
