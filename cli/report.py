"""`synth report`."""

import click

from cli.call import told
from cli.help import Command
from cli.options import TRUST, checked
from synth.data.destination import check_page


@click.command(cls=Command)
@click.argument("sources", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="FILE.html", required=True, callback=checked(check_page), help="The page: one HTML file."
)
@click.option(
    "--model", help="Whose tokenizer turns tokens into text: a directory or a Hub id. [default: the one that scored]"
)
@TRUST
@click.option("--force", is_flag=True, help="Replace the page if it exists.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def command(sources: tuple[str, ...], output: str, model: str | None, force: bool, quiet: bool) -> None:
    """Make one HTML page about data sets, an evaluation, or a training run.

    Data sets, one or several: token heat maps side by side, perplexity by method, reasons of rejection, lengths, and a
    searchable browser of the rows. What is shown of tokens and perplexity needs rows that `synth score-tokens` wrote.

    What `synth eval -o DIR` wrote: what was kept and what was learned, suite by suite, and every item that went wrong
    or came right, with both answers side by side. What `synth train -o DIR` wrote: the learning-forgetting curve, the
    loss and the settings.

    The page is one file that loads nothing from elsewhere.

    \b
    Examples:
      synth report replay -o replay.html
      synth report human-scored self-output-scored -o own-words.html
      synth report tasks.jsonl own/rejected -o look.html --force
      synth report scores -o kept.html
      synth report tuned -o curve.html
    """  # noqa: D301 (\b is click's)
    from synth.api.report import report

    made = report(sources, output, model=model, force=force)
    progress = told(quiet=quiet)
    for note in made.notes:
        progress.say(note)
    progress.say(f"{made.holds} → {output} ({made.size / 1e6:,.1f} MB)")
