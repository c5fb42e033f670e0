"""Checks that an image can be read, and returns its size."""

from dataclasses import dataclass
from typing import BinaryIO

from synth.data.media.files import FileFault

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Raster formats only: others may start programs (EPS), or do not occur in data sets."""

MOST_PIXELS = 50_000_000
"""Pixels; a larger image is refused before it is decompressed, so that no small file can fill the memory."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's size, pixels."""

    width: int
    height: int


def measure_picture(file: BinaryIO) -> Picture:
    """Read a picture to its end.

    Raises:
        FileFault: it is no picture, broken or too large.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise FileFault(f"too large: {image.width} x {image.height} pixels")
            image.load()
            return Picture(image.width, image.height)
    except FileFault:
        raise
    except Exception as error:  # decoders raise many kinds of errors, which all mean that the file is broken
        raise FileFault(f"not readable as a picture: {' '.join(str(error).split())}") from error
