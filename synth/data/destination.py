"""Checks the suffix of the name given with `-o` before anything is opened.

A suffix of letters alone names a format; `model-v1.5` has none.
"""

from collections.abc import Sequence
from pathlib import Path

from synth.errors import UsageError

ROWS = (".jsonl", ".parquet", ".arrow")
"""Suffixes of files of rows; `synth.data.write.FORMATS` says how each is written."""
PAGE = (".html", ".htm")
INPUTS = ".inputs"
"""Suffix of the directory in which ssr looks for its inputs, beside its output."""


def check_rows(output: str) -> None:
    """Check that rows can be written there: to a file of `ROWS`, a directory, or standard output.

    Raises:
        UsageError: the suffix is of another format.
    """
    if not _fits(output, ROWS):
        raise UsageError(
            f"`output` {output}: rows are not written as {Path(output).suffix}; end the name in {', '.join(ROWS)}, or "
            "in no suffix for a dataset directory"
        )


def check_directory(output: str, holds: str) -> None:
    """Check that a name can be that of a directory.

    Args:
        output: the name.
        holds: what it is for, as in "the trained model".

    Raises:
        UsageError: it has the suffix of a file, or is the name of one.
    """
    if Path(output).is_file():
        raise UsageError(f"{output} is a file; give `output` a directory")
    if not _fits(output, ()):
        raise UsageError(f"`output` {output}: {holds} goes into a directory; give a name without {Path(output).suffix}")


def check_page(output: str) -> None:
    """Check that the name of a page has the suffix of one.

    Raises:
        UsageError: it has another suffix than those of `PAGE`, or none.
    """
    if Path(output).suffix.lower() not in PAGE and not Path(output).is_dir():
        raise UsageError(f"`output` {output}: the report is a page of HTML; end its name in {' or '.join(PAGE)}")


def _fits(output: str, suffixes: Sequence[str]) -> bool:
    path = Path(output)
    return not path.suffix[1:].isalpha() or path.suffix.lower() in (*suffixes, INPUTS) or path.is_dir()
