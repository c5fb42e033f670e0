"""The card of a trained model."""

import json
from pathlib import Path

from synth.token_encoding import untrained_line
from synth.training.folder import TrainingFolder

_TOLD = (
    "steps",
    "epochs",
    "rate",
    "schedule",
    "budget",
    "accumulate",
    "decay",
    "lora",
    "freeze",
    "nearness",
    "language",
)


def training_card(folder: TrainingFolder) -> str:
    """What a person sees first: what was trained on what, how, and what was gained and lost."""
    record = folder.record
    told = {name: record.settings[name] for name in _TOLD if record.settings[name]}
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
        + f" ({record.tokens['tokens']:,.0f} tokens, {record.tokens['trained']:,.0f} of them with loss).",
        *([f"{untrained_line(int(untrained))}."] if (untrained := record.tokens.get("untrained")) else []),
        "",
        *(f"- {name}: {json.dumps(value)}" for name, value in told.items()),
    ]
    measured = [entry for entry in folder.log if "evaluation" in entry]
    if measured:
        lines += ["", "| step | new task | old abilities | kept |", "|---:|---:|---:|---:|"]
        for entry in measured:
            shares = [entry["evaluation"].get(name) for name in ("new", "old", "kept")]
            cells = ["" if share is None else f"{share:.1%}" for share in shares]
            lines.append(f"| {entry['step']:,} | {' | '.join(cells)} |")
        floor, kept = record.settings.get("keep"), measured[-1]["evaluation"].get("kept")
        if floor is not None and kept is not None and kept < floor:
            lines += [
                "",
                f"Stopped at step {measured[-1]['step']:,}, below {floor:.0%}: the weights are those of step "
                f"{measured[-2]['step']:,}.",
            ]
        lines += ["", "![learnt against kept](curve.svg)"]
    return "\n".join(lines) + "\n"
