"""`synth score-tokens`."""

import click

from cli.command import Call, command_of
from cli.options import Option


@command_of(
    "synth.api.score_tokens:score_tokens",
    of_model=(
        "engine",
        "prefix",
        "stop",
        "template_args",
        "dtype",
        "device",
        "max_length",
        "concurrency",
        "api_key",
        "adapter",
        "trust_remote_code",
    ),
    engine=Option(
        metavar="auto|transformers|URL|MODULE:FUNCTION",
        help="Where the model runs: here; on servers, whose log-probabilities are taken; in an engine of yours.",
    ),
    scorer=Option(metavar="MODEL"),
    mask_above=Option(metavar="P"),
    protect=Option(metavar="end-of-turn,answer", listed=True),
)
def command(call: Call) -> None:
    """Score every token under a model, and mask tokens that should not be trained on.

    Rows get `input_ids`, `labels` (-100 where nothing is learnt), `logprobs` (nats; empty where a token is not scored)
    and `scorer`; with --entropy also `entropies` (nats) and `ranks`. Rows with these columns, scored by the same model,
    are not scored again: score once, then choose masks. A row of which nothing is left to train on is rejected.

    Plain texts (rows without turns, but with a column `text`) are scored from their second token on, as in
    pre-training; rows of synth lamol --prepare as the tokens they are, where their labels train.

    \b
    Examples:
      synth score-tokens own --model M --preview
      synth score-tokens own --model M --mask-above 2.5 --protect end-of-turn -o masked
      synth score-tokens own --model M -o scored && synth score-tokens scored --model M --mask-hardest 20% -o masked
      synth score-tokens own --model M --mask-above 2.5 --mask-random -o control
      synth score-tokens own --model M --mask-confident-conflicts 15% --mask-over corpus -o masked
      synth score-tokens rephrased --model M -o scored
      synth score-tokens pages.parquet --model M --text-column body --overlong window -o pages
      synth score-tokens own --model M --engine http://localhost:8000 -o scored
      synth score-tokens own --model M --engine servers.txt -o scored    # a file with a server a line
    """  # noqa: D301 (\b is click's)
    scored = call()
    if call.given["preview"]:
        click.echo(scored)
