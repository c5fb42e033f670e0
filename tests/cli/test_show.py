import json
import subprocess
import sys
from pathlib import Path

SHOW = [sys.executable, "-c", "from cli.main import main; main()", "show"]


def test_rows_with_control_characters_made_harmless(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            "id": f"row{number}",
            "messages": [
                {"role": "user", "content": "Why?\nReally \x1b[31mred\x1b]0;title\x07?"},
                {"role": "assistant", "content": "[bold]Because[/bold] \u202eevil"},
            ],
        }
        for number in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([*SHOW, str(file), "-n", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "row1" in done.stdout and "row2" not in done.stdout
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout and "\u202e" not in done.stdout
    assert "\\x1b[31mred" in done.stdout and "\\u202eevil" in done.stdout
    assert "[bold]Because[/bold]" in done.stdout


def test_missing_input_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run([*SHOW, str(tmp_path / "none.jsonl")], capture_output=True, text=True)
    assert done.returncode == 2 and "none.jsonl" in done.stderr and "Traceback" not in done.stderr
