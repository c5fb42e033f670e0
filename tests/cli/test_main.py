import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.help import GROUPS
from cli.main import main
from cli.train import Training
from cli.train import command as training
from synth.errors import UsageError
from tests.cli import running


def synth(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_help_lists_every_command_with_examples() -> None:
    done = synth("--help")
    assert done.returncode == 0
    for name in ("magpie", "template", "show", "export"):
        assert f"\n  {name} " in done.stdout
    assert "Examples:" in done.stdout


def test_version() -> None:
    assert synth("--version").stdout.startswith("synth, version ")
    unknown = "import importlib.metadata as m; m.version = lambda name: m.distribution('no such package')\n"
    command = [sys.executable, "-c", unknown + "from cli.main import main; main()", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "synth, version unknown: it is not installed\n"


def test_the_options_of_a_training_are_in_groups() -> None:
    """Each of a name that there is, and few are left over."""
    said = synth("train", "--help").stdout
    own = {name for title, names in Training.groups.items() if title not in GROUPS for name in names}
    assert own <= {param.name for param in training.params}
    assert said.partition("Options:\n")[2].partition("\n\n")[0].count("\n  -") < 9
    assert (
        said.index("\nReplay as an objective of its own:\n")
        < said.index("  --replay-loss ")
        < said.index("\nMemory:\n")
    )


def test_misspelt_command_names_the_nearest() -> None:
    done = synth("magpi", "-n", "3")
    assert done.returncode == 2 and "Did you mean magpie?" in done.stderr


@pytest.mark.parametrize("arguments", [["magpie"], ["magpie", "--nonsense"], ["show", "-n", "many"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    done = synth(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    plain = synth("show", "nowhere.jsonl")
    assert plain.returncode == 2 and "Traceback" not in plain.stderr
    assert plain.stderr.startswith("synth: ") and plain.stderr.count("\n") == 1
    for arguments in (["--debug", "show", "nowhere.jsonl"], ["show", "nowhere.jsonl", "--debug"]):
        assert "Traceback" in synth(*arguments).stderr


def test_model_libraries_are_quiet_unless_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_DEBUG", "0")  # so that it is as before afterwards
    monkeypatch.delenv("TQDM_DISABLE")
    with pytest.raises(UsageError):
        main(["--debug", "show", "nowhere.jsonl"])
    assert "TQDM_DISABLE" not in os.environ
    monkeypatch.setenv("SYNTH_DEBUG", "0")
    assert running.synth("show", "nowhere.jsonl") == 2
    assert os.environ["TQDM_DISABLE"] == "1"


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """As a disk brings it that was written under another encoding."""
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_text('{"prompt": "Hi", "completion": "Ho"}\n')
    done = synth("verify", f"{tmp_path}/" + os.fsdecode(b"caf\xe9.jsonl"), "--verifier", "exact")
    assert done.returncode == 2 and r"caf\udce9.jsonl' is not UTF-8" in done.stderr
    assert synth("export", str(tmp_path)).returncode == 0


def test_what_is_to_be_done_at_exit_is_done(tmp_path: Path) -> None:
    """The process ends without freeing its objects; a user's code, and libraries, still have their last word."""
    (tmp_path / "own.py").write_text(
        "import atexit, threading, time\n\n\n"
        "def late():\n    time.sleep(0.2)\n    print('thread')\n\n\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=late).start()\n\n\n"
        "def find(rows):\n    return rows['answer'].str.len_chars() > 9\n",
        encoding="utf-8",
    )
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "Is it?", "answer": "It is."}\n', encoding="utf-8")
    command = [sys.executable, "-c", "from cli.main import main; main()", "filter", "--filter"]
    for arguments, status in (["own:find", str(rows), "-o", f"{tmp_path}/out"], 0), (["own:no", str(rows)], 2):
        done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stdout) == (status, "thread\nat exit\n"), done.stderr


def test_ctrl_c_while_loading_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"question": "Is it?", "answer": "It is."}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code = "import sys; sys.path.insert(0, '.'); from cli.main import main; main()"
    command = [sys.executable, "-c", code, "filter", "rows.jsonl", "--filter", "slow:find"]
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "synth: interrupted"
