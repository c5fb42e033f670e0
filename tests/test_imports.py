"""The layers (cli → synth → filters → nothing of ours), and what a command may import before it needs it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
BELOW = {"cli": {"cli", "synth", "filters"}, "synth": {"synth", "filters"}, "filters": {"filters"}}
HEAVY = {"torch", "transformers", "vllm", "datasets", "polars"}


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("layer", BELOW)
def test_layers(layer: str) -> None:
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    for file in files:
        ours = imported(ast.parse(file.read_text(encoding="utf-8"))) & BELOW.keys()
        assert ours <= BELOW[layer], f"{file} imports upwards"


def test_filters_import_no_model_library() -> None:
    for file in (ROOT / "filters").rglob("*.py"):
        top = ast.Module([node for node in ast.parse(file.read_text()).body], [])
        assert not imported(top) & {"torch", "transformers", "vllm"}, file


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_needs_no_model_library(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        f"print('HEAVY', sorted({HEAVY!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Examples:" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY []"
