"""`synth show`: rows drawn for a terminal.

There is no function for it: in Python rows are dictionaries, results have tables, and `synth.report` makes a page.
"""

from pathlib import Path

import click

from cli.help import Command
from cli.options import ROWS, TRUST, announced
from synth.progress import printable as printable


@click.command(cls=Command)
@announced
@click.argument("source", metavar="[INPUT]", default="-")
@click.option("-n", "--rows", type=ROWS, default=5, show_default=True, help="Rows to show.")
@click.option("--model", metavar="MODEL", help="Whose tokenizer shows scored tokens. [default: the scorer's]")
@TRUST
@click.option("--plain", is_flag=True, help="Scored rows as conversations, too, without their tokens.")
def command(source: str, rows: int, model: str | None, plain: bool) -> None:
    """Show the first rows of a data set, a file or standard input; or the result of an evaluation, a training, a merge.

    Rows with token scores are shown as heat maps: the likelier a token, the plainer; hard ones glow red, masked ones
    stand in brackets, and what is not scored is dim. Of preference pairs, the chosen answer stands beside the rejected
    one. What is too long for a terminal is cut, with a note.

    \b
    Examples:
      synth show replay
      synth show replay/rejected -n 20
      synth show own/pairs
      synth show masked -n 3
      synth show scores
      synth magpie --model samples/model -n 3 --quiet | synth show
    """  # noqa: D301 (\b is click's)
    folder = Path(source)
    if folder.is_dir() and (folder / "scores.json").is_file():
        _show_scores(folder)
    elif folder.is_dir() and _holds_a_run_of_models(folder):
        from synth.training.card import told_of

        click.echo(printable(told_of(folder)))
    else:
        from cli.show_rows import show_rows

        show_rows(source, rows, model, plain)


def _show_scores(folder: Path) -> None:
    from cli.score_table import score_table
    from synth.errors import UsageError
    from synth.reports.evaluation import read_scores

    scores = read_scores(folder)
    try:
        score_table(scores)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{folder}/scores.json is damaged ({error}); run synth eval again") from error
    click.echo(f"\nitem by item: synth report {folder} -o scores.html; the answers: synth show {folder}/answers/MODEL")


def _holds_a_run_of_models(folder: Path) -> bool:
    """Whether a directory is a training's or a merge's."""
    if (folder / "log.jsonl").is_file():
        return True
    return (folder / "config.json").is_file() and (folder / "run.json").is_file()
