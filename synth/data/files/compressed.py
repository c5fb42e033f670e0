"""Files of text: UTF-8, perhaps packed by gzip, zstandard or bzip2, as the first bytes say, whatever the name is."""

import io
from typing import BinaryIO, cast

import pyarrow as pa

from synth.data.store.path import File
from synth.errors import UsageError

SUFFIXES = (".gz", ".zst", ".bz2")

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}


def open_bytes(path: File) -> BinaryIO:
    """A file to read from start to end, unpacked.

    Raises:
        OSError: it cannot be opened; reading raises it, too, where a compressed file is damaged or cut short.
    """
    file = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    start = file.read(4)
    file.seek(0)
    packing = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
    if packing is None:
        return file
    return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(file, packing), 2**20))


def check_encoding(path: File, name: str) -> None:
    """Refuse a file that says to be UTF-16.

    Raises:
        UsageError: it does.
        OSError: as for `open_bytes`.
    """
    with open_bytes(path) as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise UsageError(f"{name} is UTF-16; write it anew in UTF-8, as in: iconv -f UTF-16 -t UTF-8 FILE")
