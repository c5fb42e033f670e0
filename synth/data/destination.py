"""What the name given with `-o` may be, by its suffix: checked before anything is opened.

A suffix of letters alone names a format; `model-v1.5` has none.
"""

from collections.abc import Sequence
from pathlib import Path

from synth.errors import UsageError

ROWS = (".jsonl", ".parquet", ".arrow")
"""Suffixes of files of rows; `synth.data.write.FORMATS` says how each is written."""
PAGE = (".html", ".htm")


def check_rows(output: str) -> None:
    """See that rows can be written so: in a file of `ROWS`, a directory, or standard output.

    Raises:
        UsageError: the suffix is of another format.
    """
    if not _fits(output, ROWS):
        raise UsageError(
            f"`output` {output}: rows are not written as {Path(output).suffix}; end the name in {', '.join(ROWS)}, or "
            "in no suffix for a dataset directory"
        )


def check_directory(output: str, holds: str) -> None:
    """See that a directory may be called so.

    Args:
        output: its name.
        holds: what it is for, as in "the trained model".

    Raises:
        UsageError: it is called as a file is.
    """
    if not _fits(output, ()):
        raise UsageError(f"`output` {output}: {holds} goes into a directory; give a name without {Path(output).suffix}")


def check_page(output: str) -> None:
    """See that a page is called one.

    Raises:
        UsageError: it has another suffix than those of `PAGE`, or none.
    """
    if Path(output).suffix.lower() not in PAGE and not Path(output).is_dir():
        raise UsageError(f"`output` {output}: the report is a page of HTML; end its name in {' or '.join(PAGE)}")


def _fits(output: str, suffixes: Sequence[str]) -> bool:
    path = Path(output)
    return not path.suffix[1:].isalpha() or path.suffix.lower() in suffixes or path.is_dir()
