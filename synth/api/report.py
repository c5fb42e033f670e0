"""`synth.report`: an HTML page about data sets, an evaluation or a training."""

import html
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from synth.data.destination import check_page
from synth.data.output import Output
from synth.engines.loading import remote_code
from synth.progress import Progress
from synth.reports.build import build_report


class Report:
    """An HTML page that loads nothing from elsewhere; a notebook displays it.

    Attributes:
        page: its HTML.
        holds: a summary of its content.
        notes: remarks, such as what was left out.
    """

    def __init__(self, page: str, holds: str, notes: Sequence[str]) -> None:
        self.page, self.holds, self.notes = page, holds, list(notes)

    def __repr__(self) -> str:
        return f"<synth report: {self.holds}, {self.size / 1e6:,.1f} MB>"

    @property
    def size(self) -> int:
        """Bytes of the page."""
        return len(self.page.encode())

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width:100%;height:80vh;border:0"></iframe>'


def report(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    trust_remote_code: bool = False,
    force: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Report:
    """Make the page of data sets, of an evaluation, or of a training run.

    Args:
        sources: a data set, or several; or one directory that `synth eval` or `synth train` wrote.
        output: the HTML file to write; None writes none.
        model: whose tokenizer turns tokens into text; by default that of the model that scored.
        trust_remote_code: let that tokenizer run code that comes with it.
        force: replace a file that exists.
        progress: is told what the page holds.

    Raises:
        UsageError: a source cannot be read, or the output exists, is a source or is no page.
        RunError: the disk is full.
    """
    names = [os.fspath(one) for one in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    with tempfile.TemporaryDirectory() as folder:
        place = Output(str(Path(folder) / "report.html") if output is None else os.fspath(output))
        check_page(str(place.path))
        with remote_code(allowed=trust_remote_code), place.made(force=force) as path:
            made = build_report(names, str(path), model=model, force=force)
            page = Report(path.read_text(encoding="utf-8"), made.holds, made.notes)
    for note in page.notes:
        progress.say(note)
    if output is not None:
        progress.say(f"{page.holds} → {place.called} ({page.size / 1e6:,.1f} MB)")
    return page
