"""`synth export`."""

from pathlib import Path

import click

from cli.help import Command
from cli.options import LIMIT

FORMS = ("tokens", "messages", "prompt-completion", "preference", "sharegpt", "alpaca")
TRAINERS = ("trl", "axolotl", "llama-factory", "torchtune", "jsonl", "parquet")


@click.command(cls=Command)
@click.argument("source", metavar="[INPUT]", default="-")
@click.option(
    "--for",
    "trainer",
    type=click.Choice(TRAINERS),
    help="Write what this trainer loads, and print the configuration that loads it.",
)
@click.option(
    "--as",
    "form",
    type=click.Choice(FORMS),
    help="With --for: the form of the rows. [default: tokens if they are scored, preference if they are pairs, "
    "else messages]",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR|FILE",
    help="A dataset directory, or a .jsonl, .parquet or .arrow file. [default: JSON lines to stdout]",
)
@click.option("--limit", type=LIMIT, help="Stop after so many rows.")
@click.option("--prompt-column", metavar="NAME", help="The column with the prompt, where it is not recognised.")
@click.option("--reference-column", metavar="NAME", help="The column with the answer, likewise.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def command(
    source: str,
    trainer: str | None,
    form: str | None,
    output: str | None,
    limit: int | None,
    prompt_column: str | None,
    reference_column: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Write a data set as a trainer loads it, or copy it to another format.

    With --for, the rows have the columns that the trainer takes and no others, and a configuration that loads them goes
    to standard output. Tokens keep their masks: labels are -100 where nothing is learnt. Without --for all columns are
    copied, conversations as `messages`.

    INPUT is a dataset directory, a .jsonl, .json, .parquet, .arrow or .csv file (or .jsonl.gz, .zst, .bz2), a folder of
    such files, a pattern in quotes, a Hub data set (org/name[/config][@revision][:split]), or standard input.

    Conversations are recognised as messages, prompt/completion, question/answer, instruction/input/output (alpaca) or
    ShareGPT; preference pairs by `chosen` and `rejected`: texts, turns or whole conversations.

    \b
    Examples:
      synth export masked --for trl -o for-trl
      synth export masked --for axolotl -o for-axolotl > axolotl.yaml
      synth export own --for llama-factory --as sharegpt -o for-llama-factory
      synth export own/pairs --for trl -o for-dpo
      synth export replay -o replay.jsonl
      synth export openai/gsm8k/main:train -o gsm8k
      synth export mbpp.jsonl --prompt-column text --reference-column code -o mbpp.parquet
      synth export 'shards/*.jsonl.gz' -o chat
    """  # noqa: D301 (\b is click's)
    from synth.data.plain import open_rows_or_texts
    from synth.data.write import open_writer
    from synth.errors import UsageError

    if trainer is not None:
        if output in (None, "-"):
            raise UsageError(f"--for {trainer} writes files: name them with -o")
        _for_trainer(source, trainer, form, Path(str(output)), limit, (prompt_column, reference_column), force, quiet)
        return
    if form is not None:
        raise UsageError("--as goes with --for: name the trainer, or jsonl or parquet for files of your own")
    rows = open_rows_or_texts(source, prompt_column=prompt_column, reference_column=reference_column)
    with open_writer(output, rows.schema, source=source, force=force) as writer:
        for batch in rows.readable(limit):
            writer.write(batch)
    if not quiet:
        for note in rows.notes:
            click.echo(note, err=True)
        click.echo(f"{writer.rows:,} rows → {output or 'standard output'}", err=True)


def _for_trainer(
    source: str,
    name: str,
    form: str | None,
    output: Path,
    limit: int | None,
    columns: tuple[str | None, str | None],
    force: bool,
    quiet: bool,
) -> None:
    from synth.data.pairs import has_pairs, pairs
    from synth.data.read import conversations, open_source
    from synth.data.write import open_writer
    from synth.errors import UsageError
    from synth.exports.formats import form_of, formed
    from synth.exports.trainers import NAMED_IN_CONFIG, TRAINERS, check, data_path, write_extras
    from synth.scoring.token_scores import scorer_model

    trainer = TRAINERS[name]
    if output.suffix.lower() != trainer.suffix and (trainer.suffix or output.suffix[1:].isalpha()):
        what = f"one {trainer.suffix} file" if trainer.suffix else "a directory"
        raise UsageError(f"-o {output}: {name} loads {what}")
    raw = open_source(source)
    chosen = form or form_of(raw.schema)
    check(name, chosen, chosen=form is not None)
    rows = raw
    if chosen == "preference" and has_pairs(raw.schema):
        rows = pairs(raw, prompt_column=columns[0])
    elif chosen not in ("tokens", "preference"):
        rows = conversations(raw, prompt_column=columns[0], reference_column=columns[1])
    found = formed(rows, chosen, attention=trainer.attention)
    path = data_path(name, chosen, output)
    if path != output:
        output.mkdir(parents=True, exist_ok=True)
    with open_writer(str(path), found.schema, source=source, force=force) as writer:
        for batch in found.batches(limit):
            writer.write(batch)
    write_extras(name, chosen, output)
    model = scorer_model(found.scorer) if found.scorer else NAMED_IN_CONFIG
    click.echo(trainer.config(found, output, model), nl=False)
    if not quiet:
        for note in rows.notes:
            click.echo(note, err=True)
        if found.left_out:
            click.echo(f"{found.left_out:,} rows left out, which {chosen} cannot hold", err=True)
        masked = f", {found.masked:,} masked tokens" if found.masked else ""
        click.echo(f"{writer.rows:,} rows as {chosen}{masked} → {output}", err=True)
