"""`synth paraphrase`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of("synth.api.paraphrase:paraphrase", style=Option(metavar="NAME|FILE"))
def command(call: Call) -> None:
    """Let the model restate the human answers in its own words (SDFT).

    A restatement is taken only if it does not talk about restating and, with --verifier, if its answer is
    still right; else the human answer is kept, as a row of method `gold` whose `note` says why.

    \b
    Examples:
      synth paraphrase gsm8k.jsonl --model M --verifier math -o para
      synth paraphrase alpaca.json --model M --style step-by-step -o para.jsonl
      synth paraphrase faq.csv --model M --style my-prompt.txt --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    call()
