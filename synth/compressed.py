"""Files that may be compressed: by gzip, zstandard or bzip2, as their first bytes say, whatever their names."""

import io
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

SUFFIXES = (".gz", ".zst", ".bz2")

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}


def open_bytes(path: Path) -> BinaryIO:
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
