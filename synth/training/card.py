"""The model card of a trained model, and the summary of a training in progress."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synth.data.row import UNVERIFIED
from synth.data.run.card import fenced, untrained_line, unverified_line
from synth.data.run.record import RunRecord, read_record
from synth.data.store.path import File
from synth.errors import UsageError
from synth.training.folder import TrainingFolder

_TOLD = (
    "method",
    "beta",
    "teacher",
    "reward",
    "reward_weights",
    "generations",
    "rollout_engine",
    "temperature",
    "max_tokens",
    "learning_rate",
    "schedule",
    "tokens_per_batch",
    "gradient_accumulation_steps",
    "weight_decay",
    "lora",
    "quantise",
    "freeze",
    "kl_coef",
    "kl_sources",
    "lm_loss_coef",
    "loss",
    "eaft_alpha",
    "replay_loss",
    "replay_positions",
    "replay_weight",
    "replay_tokens_per_batch",
    "reference_top_k",
)
"""Options that the card lists, where they are set."""


def training_card(folder: TrainingFolder) -> str:
    """The model card: what was trained on what, how, and what was gained and lost."""
    record, log = folder.record, folder.log
    lines = [
        "---",
        "library_name: transformers",
        f"base_model: {json.dumps(record.model)}",
        "tags: [synth]",
        "---",
        f"# {folder.path.name}",
        "",
        f"`{record.model}`, trained by `synth train` on {record.accepted:,} rows"
        + (f" of `{Path(record.source).name}`" if record.source else "")
        + f" ({record.tokens['tokens']:,.0f} tokens"
        + (f", {trained:,.0f} of them with loss" if (trained := record.tokens["trained"]) else "")
        + ")"
        + "".join(map(_beside, record.parts))
        + ".",
        *([f"**{unverified_line(unverified)}.**"] if (unverified := record.verdicts.get(UNVERIFIED)) else []),
        *([f"{untrained_line(int(untrained))}."] if (untrained := record.tokens.get("untrained")) else []),
        "",
    ]
    if record.command_line:
        lines += [*fenced(record.command_line, "sh"), ""]
    lines += [f"- {name}: {value}" for name, value in _told(record, log)]
    if answers := record.tokens.get("answers"):
        lines.append(f"- answers that it wrote meanwhile: {_written(record.tokens, answers)}")
    measured = [entry for entry in log if "evaluation" in entry]
    if measured:
        lines += ["", "| step | new task | old abilities | kept |", "|---:|---:|---:|---:|"]
        for entry in measured:
            shares = [entry["evaluation"].get(name) for name in ("new", "old", "kept")]
            cells = ["" if share is None else f"{share:.1%}" for share in shares]
            lines.append(f"| {entry['step']:,} | {' | '.join(cells)} |")
        floor, kept = record.settings.get("keep"), measured[-1]["evaluation"].get("kept")
        if floor is not None and kept is not None and kept < floor:
            at = measured[-1]["step"]
            back = measured[-2]["step"] or at  # nothing is saved at step 0
            lines += ["", f"Stopped at step {at:,}, below {floor:.0%}: the weights are those of step {back:,}."]
        lines += ["", "![learnt against kept](curve.svg)"]
    return "\n".join(lines) + "\n"


def _written(tokens: dict[str, float], answers: float) -> str:
    judged = f", {unscorable:,.0f} of them could not be judged" if (unscorable := tokens.get("unscorable")) else ""
    return f"{answers:,.0f} of {tokens['generated']:,.0f} tokens{judged}"


def _beside(part: dict[str, Any]) -> str:
    """What the card says of replay as an objective of its own."""
    return (
        f", and beside them on {part['rows']:,} rows of replay, `{part['name']}` ({part['tokens']:,} tokens, "
        f"{part['trained']:,} of them with loss), an objective of its own"
    )


def _told(record: RunRecord, log: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """How long the training was, and the options that were set, by their names."""
    told = [("steps", f"{max((entry['step'] for entry in log), default=0):,}")]
    if record.passes:
        told.append(("epochs", f"{record.passes:.4g}"))
    for name in _TOLD:
        if value := record.settings.get(name):
            told.append((name.replace("_", " "), value if isinstance(value, str) else json.dumps(value)))
    return told


def told_of(folder: File) -> str:
    """The card of a model that was trained or merged here, without its front matter; of a training under way, so far.

    Raises:
        UsageError: the directory holds no run.
    """
    record = read_record(folder)
    if record is None:
        raise UsageError(f"{folder} holds no run: there is no run.json")
    card = folder / "README.md"
    if not card.is_file():
        if record.command == "merge":  # of the first release, which wrote no card
            return f"{record.settings['tuned']} and {record.settings['base']}, merged by synth merge"
        rows = f"{record.accepted:,} rows" + (f" of {Path(record.source).name}" if record.source else "")
        return f"{record.model}, being trained on {rows}: see how far it is with synth report {folder} -o curve.html"
    text = card.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---\n"):
        text = text[4:].partition("\n---\n")[2]
    drawn = f"\n\nsynth report {folder} -o curve.html draws it" if (folder / "log.jsonl").is_file() else ""
    return text.strip() + drawn
