"""Common parts of the pages of `synth report`: one file that loads nothing and runs one script.

The script is named in the page's content policy by its hash. Texts are hostile: what a template writes is escaped, and
all else reaches the script as compressed blocks and the document as text.
"""

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.data.destination import check_page
from synth.data.write import replace_text
from synth.errors import RunError, UsageError
from synth.reports.datasets import figure, percent

PAGE = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: a summary of the page's content, its size in bytes, and notes."""

    holds: str
    size: int
    notes: list[str]


def check_output(path: Path, sources: Sequence[str], force: bool) -> None:
    """Check that the page may be written.

    Raises:
        UsageError: the output is called as no page is, is a directory, a source, or exists and may not be replaced.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; give `output` a file, such as {path / 'report.html'}")
    if any(Path(source).exists() and path.exists() and path.samefile(source) for source in sources):
        raise UsageError(f"{path} is the input itself; choose another `output`")
    check_page(str(path))
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another `output`, or add `force` to replace it")


def packed(value: Any) -> str:
    """JSON, compressed, in letters that mean nothing to HTML."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def render(template: str, **values: Any) -> str:
    """A page from TEMPLATE.html.jinja and, where there is one, its script TEMPLATE.js.

    Args:
        template: its name.
        values: what the template shows; `title` is the page's.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    pages.filters |= {"figure": figure, "percent": percent, "count": "{:,}".format}
    script, runs = "", "'none'"
    if (PAGE / f"{template}.js").exists():
        parts = [(PAGE / file).read_text(encoding="utf-8") for file in ("common.js", f"{template}.js")]
        script = '"use strict";\n{\n' + "\n".join(parts) + "}\n"
        runs = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    return pages.get_template(f"{template}.html.jinja").render(
        script=Markup(script),
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src {runs}; base-uri 'none'; form-action 'none'",
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        **values,
    )


def save(path: Path, page: str) -> int:
    """Write a page; it lands whole.

    Returns:
        Its size, bytes.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, page.encode("utf-8", "replace").decode())
    except OSError as error:  # nothing of ours is left then
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; fix that, or choose another `output`"
        ) from error
    return path.stat().st_size
