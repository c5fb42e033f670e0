"""What `synth show` prints: rows, or what an evaluation, a training or a merge came to."""

from rich.console import Console

from synth.data.store.path import File, path_at
from synth.errors import UsageError
from synth.progress import Progress, printable
from synth.reports.terminal.rows import print_rows
from synth.reports.terminal.scores import print_scores


def show(source: str, rows: int, model: str | None, *, plain: bool, progress: Progress) -> None:
    """Print what a source is.

    Args:
        source: a data set, a file, or a directory that an evaluation, a training or a merge wrote.
        rows: how many rows are shown.
        model: whose tokenizer shows scored tokens; the scorer's by default.
        plain: whether scored rows are shown without their tokens.
        progress: is told what should be known of the source.

    Raises:
        UsageError: it cannot be read.
    """
    folder = path_at(source)
    if folder.is_dir() and (folder / "scores.json").is_file():
        _show_scores(folder)
    elif folder.is_dir() and _holds_a_run_of_models(folder):
        from synth.training.card import told_of

        Console(highlight=False).print(printable(told_of(folder)), markup=False, soft_wrap=True)
    else:
        print_rows(source, rows, model, plain=plain, progress=progress)


def _show_scores(folder: File) -> None:
    from synth.reports.evaluation import read_scores  # with all that draws charts

    scores = read_scores(folder)
    try:
        print_scores(scores)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{folder}/scores.json is damaged ({error}); run synth eval again") from error
    hint = f"\nitem by item: synth report {folder} -o scores.html; the answers: synth show {folder}/answers/MODEL"
    Console(highlight=False).print(hint, markup=False, soft_wrap=True)


def _holds_a_run_of_models(folder: File) -> bool:
    """Whether a directory is a training's or a merge's."""
    if (folder / "log.jsonl").is_file():
        return True
    return (folder / "config.json").is_file() and (folder / "run.json").is_file()
