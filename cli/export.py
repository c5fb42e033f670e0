"""`synth export`."""

import click


@click.command()
@click.argument("source", metavar="[INPUT]", default="-")
@click.option(
    "-o",
    "--output",
    metavar="DIR|FILE",
    help="A dataset directory, or a .jsonl, .parquet or .arrow file. [default: JSON lines to stdout]",
)
@click.option("--limit", type=click.IntRange(0), help="Stop after so many rows.")
@click.option("--prompt-column", metavar="NAME", help="The column with the prompt, where it is not recognised.")
@click.option("--reference-column", metavar="NAME", help="The column with the answer, likewise.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def command(
    source: str,
    output: str | None,
    limit: int | None,
    prompt_column: str | None,
    reference_column: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Copy a data set to another format, its conversations as `messages`.

    INPUT is a dataset directory, a .jsonl, .json, .parquet, .arrow or .csv file, a Hub data set
    (org/name[/config][@revision][:split]), or standard input. Conversations are recognised as messages,
    prompt/completion, question/answer, instruction/input/output (alpaca) or ShareGPT.

    \b
    Examples:
      synth export replay -o replay.jsonl
      synth export openai/gsm8k/main:train -o gsm8k
      synth export mbpp.jsonl --prompt-column text --reference-column code -o mbpp.parquet
      zcat chat.jsonl.gz | synth export -o chat
    """  # noqa: D301 (\b is click's)
    from synth.read import open_rows
    from synth.write import open_writer

    rows = open_rows(source, prompt_column=prompt_column, reference_column=reference_column)
    with open_writer(output, rows.schema, source=source, force=force) as writer:
        for batch in rows.batches(limit):
            writer.write(batch)
    if not quiet:
        for note in rows.notes:
            click.echo(note, err=True)
        click.echo(f"{writer.rows:,} rows → {output or 'standard output'}", err=True)
