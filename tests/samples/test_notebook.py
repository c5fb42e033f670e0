"""The notebook's cells run one after the other where an event loop runs, as in a notebook."""

import asyncio
import runpy
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "samples" / "notebook.py"


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def cells() -> dict[str, Any]:
        return runpy.run_path(str(NOTEBOOK))

    made = asyncio.run(cells())
    [folder] = tmp_path.glob("synth-notebook-*")
    assert {"replay", "own", "clean", "mixed", "tuned", "scores", "report.html"} <= {
        one.name for one in folder.iterdir()
    }
    assert len(made["mixed"]) == 60 + 12 and made["tuned"].steps == 30
    assert made["tuned"].log[-1]["loss"] < made["tuned"].log[0]["loss"]
    assert "<iframe" in made["page"]._repr_html_()
    table = capsys.readouterr().out
    assert all(name in table for name in ("two_step", "world", "lists", "before", "after"))
