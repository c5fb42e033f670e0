"""`synth ssr`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of("synth.api.ssr:ssr", embed=Option(metavar="[LIBRARY:]MODEL"))
def command(call: Call) -> None:
    """Make rehearsal data of an old task from a few kept examples (self-synthesised rehearsal, SSR).

    INPUT holds the examples, questions with answers; some 20 are enough. Shown two at a time, the model writes further
    inputs. They are grouped by what they are about, each group is represented in proportion by those nearest to its
    middle, and the model answers these itself. All inputs are kept in DIR.inputs.

    \b
    Examples:
      synth ssr kept.jsonl --model M -n 200 -o rehearsal
      synth ssr data.jsonl --limit 20 --model M --input-model BASE --prefix "Q: " --stop " A:" -n 200 -o rehearsal
      synth ssr kept.jsonl --model M -n 200 --embed sentence-transformers:princeton-nlp/sup-simcse-roberta-base -o rows
    """  # noqa: D301 (\b is click's)
    call()
