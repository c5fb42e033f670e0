"""`synth score-tokens`."""

import math
from typing import TYPE_CHECKING, Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, PREFIX, SEEDS, STOP, Number, Share, input_options, output_options, scoring_options

if TYPE_CHECKING:
    from synth.scoring.masks import Mask
    from synth.scoring.thresholds import Preview


@click.command(cls=Command)
@input_options
@MODEL
@click.option("--scorer", metavar="MODEL", help="Another model that scores, with the same tokenizer.")
@click.option(
    "--train-on",
    type=click.Choice(["assistant", "last", "all"]),
    default="assistant",
    show_default=True,
    help="Which part of a conversation is scored and trained on: all assistant turns, the last one, or every token.",
)
@click.option("--text-column", metavar="NAME", help="The column with plain texts, if it is not `text`.")
@click.option("--mask-above", type=Number(), metavar="P", help="Mask tokens of perplexity above P; 2.5 in the paper.")
@click.option("--mask-hardest", type=Share(), metavar="SHARE", help="Or mask this share of the tokens, such as 20%.")
@click.option("--mask-easiest", is_flag=True, help="A control: as many tokens, but the easiest.")
@click.option("--mask-random", is_flag=True, help="A control: as many tokens, at random.")
@click.option(
    "--mask-over",
    type=click.Choice(["row", "corpus"]),
    default="row",
    show_default=True,
    help="Count shares and controls in each row, or over all rows together.",
)
@click.option(
    "--protect",
    metavar="end-of-turn,answer",
    default="",
    help="Never mask the tokens that end a turn, or those of the row's `answer` (from `synth verify`).",
)
@click.option(
    "--overlong",
    type=click.Choice(["drop", "truncate", "window"]),
    default="drop",
    show_default=True,
    help="Rows longer than the window: rejected, cut at its end, or kept whole and scored in overlapping windows.",
)
@click.option("--preview", is_flag=True, help="Show what each threshold would mask, and write nothing.")
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="For --mask-random.")
@PREFIX
@STOP
@scoring_options
@output_options
def command(**given: Any) -> None:
    """Score every token under a model, and mask tokens that should not be trained on.

    Rows get `input_ids`, `labels` (-100 where nothing is learnt), `logprobs` (nats; empty where a token is not scored)
    and `scorer`. Rows with these columns, scored by the same model, are not scored again: score once, then choose
    masks. A row of which nothing is left to train on is rejected.

    Plain texts (rows without turns, but with a column `text`) are scored from their second token on, as in
    pre-training; rows of synth lamol --prepare as the tokens they are, where their labels train.

    \b
    Examples:
      synth score-tokens own --model M --preview
      synth score-tokens own --model M --mask-above 2.5 --protect end-of-turn -o masked
      synth score-tokens own --model M -o scored && synth score-tokens scored --model M --mask-hardest 20% -o masked
      synth score-tokens own --model M --mask-above 2.5 --mask-random -o control
      synth score-tokens rephrased --model M -o scored
      synth score-tokens pages.parquet --model M --text-column body --overlong window -o pages
      synth score-tokens own --model M --engine http://localhost:8000 -o scored
    """  # noqa: D301 (\b is click's)
    from synth.api.score_tokens import score_tokens

    protect = [name.strip() for name in given["protect"].split(",") if name.strip()]
    with arguments(given | {"protect": protect}) as call:
        made = score_tokens(**call)
    if given["preview"]:
        for line in preview_lines(made):
            click.echo(line)


def preview_lines(preview: "Preview") -> list[str]:
    """The threshold table and the histogram, for a terminal."""
    from synth.scoring.thresholds import EDGES

    lines = [f"{preview.rows:,} rows, {preview.tokens:,} scored tokens", ""]
    lines.append(f"{'mask':<24}{'masked':>12}{'share':>9}{'perplexity left':>18}{'rows emptied':>14}")
    for effect in preview.effects:
        left = "–" if math.isnan(effect.perplexity) else f"{effect.perplexity:,.2f}"
        lines.append(
            f"{_mask_name(effect.mask):<24}{effect.masked:>12,}{effect.share:>9.1%}{left:>18}{effect.emptied:>14,}"
        )
    lines += ["", f"{'perplexity of a token':<24}{'tokens':>12}{'share':>9}"]
    most = max(preview.histogram, default=0)
    for low, high, count in zip(EDGES, EDGES[1:], preview.histogram, strict=False):
        name = f"{low:g} – {high:g}" if math.isfinite(high) else f"above {low:g}"
        bar = "█" * round(40 * count / max(1, most))
        lines.append(f"{name:<24}{count:>12,}{count / max(1, preview.tokens):>9.1%}  {bar}".rstrip())
    return lines


def _mask_name(mask: "Mask") -> str:
    amount = f"above {mask.above:g}" if mask.above is not None else f"hardest {mask.hardest:.0%}"
    return amount if mask.which == "hardest" else f"{amount}, {mask.which}"
