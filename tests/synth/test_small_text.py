"""Small files that a person names: read whatever they are, but never for ever."""

import os
import threading
from pathlib import Path

import pytest

from synth.small_text import MOST_CHARACTERS, read_small


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_text_with_and_without_a_mark(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start + "é {text}\r\n".encode())
    assert read_small(tmp_path / "a") == "é {text}\n"


def test_a_pipe_is_read_while_someone_writes_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert read_small(pipe) == ""
    reading, writing = os.pipe()  # as a shell's <(command) gives it

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(b"slow")

    threading.Timer(0.1, write).start()
    assert read_small(f"/dev/fd/{reading}") == "slow"
    os.close(reading)


def test_what_has_no_end_or_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"more than {MOST_CHARACTERS:,} characters"):
        read_small("/dev/zero")
    with pytest.raises(IsADirectoryError):
        read_small(tmp_path)
    (tmp_path / "a").write_bytes("ü".encode("utf-16"))
    with pytest.raises(UnicodeDecodeError):
        read_small(tmp_path / "a")
