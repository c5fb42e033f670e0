"""The layers (cli → synth → filters → nothing of ours), the rooms, and what may be imported before it is needed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
BELOW = {"cli": {"cli", "synth", "filters"}, "synth": {"synth", "filters"}, "filters": {"filters"}}
ROOMS = (
    "data",
    "engines",
    "chat",
    "scoring",
    "curation",
    "generation",
    "rl",
    "methods",
    "training",
    "evaluation",
    "exports",
    "reports",
    "distributed",
    "hub",
    "api",
)
"""The rooms of the library, the lowest first. Beneath them are the modules at its root but for `synth` itself."""
HEAVY = {"torch", "transformers", "vllm", "datasets", "polars", "ray"}


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


def room(name: str) -> int:
    """How high a module of the library lies; -1 at its root, but for two modules that are a part of the API."""
    if name in ("synth.filters", "synth.reward_functions"):
        return ROOMS.index("api")
    parts = name.split(".")
    return ROOMS.index(parts[1]) if len(parts) > 1 and parts[1] in ROOMS else -1


def test_rooms() -> None:
    """Lower rooms never import higher ones, not even where something is used late."""
    files = [file for file in (ROOT / "synth").rglob("*.py") if file != ROOT / "synth" / "__init__.py"]
    assert {file.relative_to(ROOT).parts[1] for file in files if len(file.relative_to(ROOT).parts) > 2} == set(ROOMS)
    for file in files:
        here = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synth."):
                assert room(str(node.module)) <= here, f"{file}:{node.lineno} imports {node.module}, a higher room"
            assert not (isinstance(node, ast.ImportFrom) and node.module == "synth"), f"{file}:{node.lineno}"


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


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = f"import sys, synth\nprint(sorted({HEAVY | {'pyarrow', 'numpy', 'click'}!r} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


LIBRARIES = HEAVY | {"accelerate", "httpx", "jinja2", "matplotlib", "peft", "rich", "scipy", "sklearn", "sympy"}
"""All but pandas, which pyarrow imports by itself, the first time that it makes a column of Python objects."""
IMPORTED: dict[str, set[str]] = {
    "filter rows.jsonl --filter length:min=2 -o out": {"polars"},
    "filter rows.jsonl --dedup near -o out.jsonl": {"polars"},
    "mix rows.jsonl --replay old.jsonl:50% -o out": set(),
    "verify rows.jsonl --verifier math --references -o out": set(),
    "export rows.jsonl -o out.parquet": set(),
    "export rows.jsonl --for trl -o out": set(),
    "show rows.jsonl": {"rich"},
    "report rows.jsonl -o out.html": {"jinja2", "matplotlib"},
}
"""Commands that use no model, and which of `LIBRARIES` each may import."""


@pytest.mark.parametrize("command", IMPORTED)
def test_commands_without_a_model_import_what_they_use(command: str, tmp_path: Path) -> None:
    for name, numbers in ("rows", range(2, 6)), ("old", range(6, 10)):
        rows = [{"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}. #### {2 * n}"} for n in numbers]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    code = (
        f"import sys\nfrom cli.main import main\ntry:\n    main({command.split()!r})\nexcept SystemExit as stop:\n"
        f"    print('DONE', stop.code, *({LIBRARIES!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    _, status, *libraries = done.stdout.splitlines()[-1].split()
    assert status == "0", done.stderr
    assert set(libraries) <= IMPORTED[command]


def test_magpie_imports_what_generates_and_no_more(tmp_path: Path) -> None:
    arguments = ["magpie", "--model", str(ROOT / "samples" / "model"), "-n", "1", "-o", str(tmp_path / "out")]
    code = (
        f"import sys\nfrom cli.main import main\ntry:\n    main({[*arguments, '--engine', 'transformers']!r})\n"
        "except SystemExit as stop:\n"
        "    print('DONE', stop.code, *({'vllm', 'datasets', 'polars', 'peft', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "DONE 0\n", done.stderr
