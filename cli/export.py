"""`synth export`."""

import click

from cli.command import Call, command_of
from cli.options import Option
from synth.exports.formats import FORMATS
from synth.exports.trainers import TRAINERS


@command_of(
    "synth.api.export:export",
    trainer=Option(
        ("--for",),
        metavar="TRAINER|MODULE:FUNCTION",
        help=f"Write what this trainer loads ({', '.join(TRAINERS)}, or a function of yours), and print the "
        "configuration that loads it.",
    ),
    form=Option(
        ("--as",),
        metavar="FORMAT|MODULE:FUNCTION",
        help=f"With --for: the format of the rows: {', '.join(FORMATS)}, or a function of yours. [default: what the "
        "trainer takes: of several tokens if they are scored, preference if they are pairs, else messages]",
    ),
)
def command(call: Call) -> None:
    """Write a data set as a trainer loads it, or copy it to another format.

    With --for, the rows have the columns that the trainer takes and no others, and a configuration that loads them goes
    to standard output. Tokens keep their masks: labels are -100 where nothing is learnt. Without --for all columns are
    copied, conversations as `messages`.

    Trainers that draw answers themselves take tasks: for grpo, prime-rl, openrlhf and verl with the columns that the
    verifier reads, which is their reward; for distillation the prompts alone; for sdft with the human answer, which
    only the teacher sees. Rows whose own reference is not right by the verifier are left out, and counted.

    INPUT is a dataset directory, a .jsonl, .json, .parquet, .arrow or .csv file (or .jsonl.gz, .zst, .bz2), a folder of
    such files, a pattern in quotes, a Hub data set (org/name[/config][@revision][:split]), or standard input.

    Conversations are recognised as messages, prompt/completion, question/answer, instruction/input/output (alpaca) or
    ShareGPT; preference pairs by `chosen` and `rejected`: texts, turns or whole conversations.

    A format of yours, module:function, takes a batch of rows (a pyarrow.RecordBatch with messages and all columns of
    the set) and returns the batch, or the list of dictionaries, that is written. A trainer of yours takes what was
    written, its path and the model's name, and returns the configuration.

    \b
    Examples:
      synth export masked --for trl -o for-trl
      synth export masked --for axolotl -o for-axolotl > axolotl.yaml
      synth export own --for llama-factory --as sharegpt -o for-llama-factory
      synth export own/pairs --for dpo -o for-dpo
      synth export gsm8k.jsonl --for grpo --verifier math -o for-grpo > grpo.py
      synth export gsm8k.jsonl --for prime-rl --verifier math -o gsm8k-tasks > rl.toml
      synth export replay -o replay.jsonl
      synth export openai/gsm8k/main:train -o gsm8k
      synth export mbpp.jsonl --prompt-column text --reference-column code -o mbpp.parquet
      synth export 'shards/*.jsonl.gz' -o chat
    """  # noqa: D301 (\b is click's)
    click.echo(call().config, nl=False)
