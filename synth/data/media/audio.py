"""Measures a recording: duration, energy, and pitch of the voice.

Read with soundfile (libsndfile: WAV, FLAC, Ogg, MP3, …), which is one wheel without further programs and reads block by
block; pitch is a page of numpy, for which a library such as librosa would bring numba and scipy's whole world.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from synth.data.media.files import FileFault
from synth.errors import UsageError

PITCH_HZ = (60.0, 500.0)
"""Range in which the pitch of a voice is searched."""

RATES_HZ = (2_000, 768_000)
"""Plausible sample rates; a header with another one is broken."""

WINDOW, HOP = 0.025, 0.02
"""Length of the comparison window (YIN) and of the step between frames, in seconds."""

APERIODIC = 0.1
"""A frame is voiced where less than about this share of its power is not periodic (YIN, step 4)."""

QUIET = 1e-7
"""A frame of less power than this (-70 dB) is silence, whatever its period."""

WHOLE = 0.95
"""A recording with a smaller share of the samples that its header promises is cut off. MP3 headers are rough."""

BLOCK_SAMPLES = 2**16
"""Read at once, all channels together: it bounds memory, whatever the file."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The measurements of a recording.

    Attributes:
        duration: seconds.
        energy: mean power, dB relative to full scale (a sine as loud as can be has -3.01 dB).
        pitch: Hz, the median of the voiced frames; None where there is none.
    """

    duration: float
    energy: float
    pitch: float | None


def check_soundfile() -> None:
    """Check that recordings can be read on this machine.

    Raises:
        UsageError: soundfile is not installed.
    """
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: it is, but libsndfile is not
        raise UsageError(f"recordings are read with soundfile: pip install soundfile ({error})") from error


def measure_sound(file: BinaryIO, longest: float) -> Sound:
    """Read a recording, in bounded memory.

    Args:
        file: the open file; its position moves.
        longest: seconds; no more than that is read.

    Raises:
        FileFault: it is no audio, broken, silent or too long.
    """
    import soundfile

    try:
        # By its number: from a name, soundfile would take the format that the suffix says.
        with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
            return _measure(sound, longest)
    except soundfile.LibsndfileError as error:
        raise FileFault(f"not readable as audio: {error.error_string}") from error


def _measure(sound: Any, longest: float) -> Sound:
    rate = int(sound.samplerate)
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise FileFault(f"broken audio: {rate} samples a second")
    if sound.frames > longest * rate:
        raise FileFault(f"too long: {sound.frames / rate:,.0f} s, more than {longest:g} s")
    count, power = 0, 0.0
    rest = np.zeros(0)
    pitches: list[NDArray[np.float64]] = []
    for block in _blocks(sound):
        count += len(block)
        if count > longest * rate:  # a header may promise less
            raise FileFault(f"too long: more than {longest:g} s")
        if not np.isfinite(block).all():
            raise FileFault("broken audio: samples that are no numbers")
        power += float(np.square(block).sum())
        frames, rest = _frames(np.concatenate([rest, block.mean(axis=1)]), rate)
        pitches.append(_pitches(frames, rate))
    if count < WHOLE * sound.frames:
        raise FileFault(f"broken audio: ends after {count / rate:.1f} of {sound.frames / rate:.1f} s")
    if not count:
        raise FileFault("file empty: no samples")
    if not power:
        raise FileFault("silent: every sample is 0")
    voiced = np.concatenate(pitches)
    return Sound(
        duration=count / rate,
        energy=10 * float(np.log10(power / (count * sound.channels))),
        pitch=float(np.median(voiced)) if len(voiced) else None,
    )


def _blocks(sound: Any) -> Iterator[NDArray[np.float64]]:
    """The samples [frames, channels], full scale being 1."""
    size = max(1, BLOCK_SAMPLES // sound.channels)
    while len(block := sound.read(size, dtype="float64", always_2d=True)):
        yield block


def _frames(samples: NDArray[np.float64], rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Overlapping frames [frames, samples], and the samples that the first frame after them begins with."""
    size, hop = _window(rate) + _longest_lag(rate), round(HOP * rate)
    count = max(0, (len(samples) - size) // hop + 1)
    if not count:
        return np.zeros((0, size)), samples
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::hop], samples[count * hop :]


def _pitches(frames: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """The pitch of each voiced frame, Hz, by YIN (de Cheveigné and Kawahara 2002, JASA 111(4)).

    The lag of the first dip of the normalised difference function is the period. Lags are searched from the shortest
    on, so that a tone above `PITCH_HZ` is not taken for one of an octave or two below.
    """
    frames = frames[np.square(frames).mean(axis=1) > QUIET]
    window, longest = _window(rate), _longest_lag(rate)
    size = 1 << (window + longest - 1).bit_length()  # of the transform: as long as a frame, none of the lags wraps
    spectrum = np.fft.rfft(frames, size) * np.fft.rfft(frames[:, :window], size).conj()
    products = np.fft.irfft(spectrum, size)[:, :longest]
    running = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), axis=1)
    powers = running[:, window : window + longest] - running[:, :longest]
    difference = np.maximum(powers[:, :1] + powers - 2 * products, 0)  # equation 7
    lags = np.arange(1, longest)
    sums = np.cumsum(difference[:, 1:], axis=1)
    normal = difference[:, 1:] * lags / np.maximum(sums, np.finfo(float).tiny)  # equation 8
    dips = (normal[:, 1:-1] < APERIODIC) & (normal[:, 1:-1] <= normal[:, :-2]) & (normal[:, 1:-1] < normal[:, 2:])
    rows = np.flatnonzero(dips.any(axis=1))
    at = dips[rows].argmax(axis=1) + 2  # the lag: dips begin with lag 2
    before, here, after = difference[rows, at - 1], difference[rows, at], difference[rows, at + 1]
    curve = before - 2 * here + after
    shift = np.divide(before - after, 2 * curve, out=np.zeros_like(here), where=curve > 0)  # parabola, step 5
    pitches: NDArray[np.float64] = rate / (at + np.clip(shift, -1, 1))
    return pitches[(pitches >= PITCH_HZ[0]) & (pitches <= PITCH_HZ[1])]


def _window(rate: int) -> int:
    return round(WINDOW * rate)


def _longest_lag(rate: int) -> int:
    """One more than the longest lag looked at: the longest period, and its neighbour for the parabola."""
    return int(rate / PITCH_HZ[0]) + 3
