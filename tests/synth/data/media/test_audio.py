"""Recordings measured: tones of known pitch and level, real files of every kind, and files that are none."""

import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synth.data.media.audio import Sound, measure_sound
from synth.data.media.files import FileFault, open_media

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: pip install soundfile")


def sound_of(path: Path, longest: float = 30) -> Sound:
    with open_media(path) as file:
        return measure_sound(file, longest)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def voice(hertz: float, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    """A tone with overtones, the first of them louder than itself, as in speech."""
    overtones = {1: 0.5, 2: 1.0, 3: 0.6, 4: 0.4, 7: 0.2}
    return sum(level * tone(hertz * number, rate, seconds) for number, level in overtones.items()) / np.array(3.0)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("hertz", [65, 110, 220.5, 330, 490])
@pytest.mark.parametrize("make", [tone, voice])
def test_pitch_is_right_within_a_hundredth(make: Any, hertz: float, rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", 0.3 * make(hertz, rate), rate)
    assert sound_of(tmp_path / "tone.wav").pitch == pytest.approx(hertz, rel=0.01)


def test_noise_and_a_breath_of_silence_do_not_shift_pitch(tmp_path: Path) -> None:
    rate = 16_000
    noise = np.random.default_rng(0).normal(size=4 * rate)
    clip = 0.003 * noise
    clip[rate : 2 * rate] += 0.3 * voice(180, rate)
    clip[3 * rate :] = 0
    soundfile.write(tmp_path / "clip.wav", clip, rate)
    assert sound_of(tmp_path / "clip.wav").pitch == pytest.approx(180, rel=0.02)
    soundfile.write(tmp_path / "noise.wav", 0.1 * noise, rate)
    assert sound_of(tmp_path / "noise.wav").pitch is None


@pytest.mark.parametrize("hertz", [700, 1500, 3100])
def test_a_whistle_is_no_low_voice(hertz: float, tmp_path: Path) -> None:
    """Every multiple of its period is a period, too."""
    soundfile.write(tmp_path / "whistle.wav", 0.3 * tone(hertz, 16_000), 16_000)
    assert sound_of(tmp_path / "whistle.wav").pitch is None


@pytest.mark.parametrize(("level", "decibel"), [(1.0, -3.01), (0.1, -23.01), (0.001, -63.01)])
def test_energy_is_relative_to_full_scale(level: float, decibel: float, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", level * tone(440, 16_000), 16_000, subtype="PCM_24")
    assert sound_of(tmp_path / "tone.wav").energy == pytest.approx(decibel, abs=0.05)
    half = np.stack([level * tone(440, 16_000), np.zeros(16_000)], axis=1)  # one channel of two is silent
    soundfile.write(tmp_path / "half.wav", half, 16_000, subtype="PCM_24")
    assert sound_of(tmp_path / "half.wav").energy == pytest.approx(decibel - 3.01, abs=0.05)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
def test_formats_are_known_by_their_content(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"tone.{suffix}", 0.3 * tone(150, 16_000, 2.0), 16_000)
    os.rename(tmp_path / f"tone.{suffix}", tmp_path / "tone.raw")  # a suffix that soundfile would stumble over
    sound = sound_of(tmp_path / "tone.raw")
    assert sound.duration == pytest.approx(2.0, abs=0.1)
    assert sound.energy == pytest.approx(-13.47, abs=0.2) and sound.pitch == pytest.approx(150, rel=0.01)


def test_blocks_leave_no_seams(tmp_path: Path) -> None:
    """A recording of many blocks and channels gives what one of a single block does."""
    rate = 16_000
    soundfile.write(tmp_path / "mono.wav", 0.3 * tone(123, rate, 3.0), rate)
    soundfile.write(tmp_path / "many.wav", np.tile(0.3 * tone(123, rate, 3.0)[:, None], 64), rate)
    mono, many = sound_of(tmp_path / "mono.wav"), sound_of(tmp_path / "many.wav")
    assert many.pitch == pytest.approx(mono.pitch) and many.energy == pytest.approx(mono.energy)


def test_a_clip_shorter_than_a_frame_has_no_pitch(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", 0.3 * tone(200, 16_000, 0.01), 16_000)
    click = sound_of(tmp_path / "click.wav")
    assert click.pitch is None and click.duration == pytest.approx(0.01)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_speech(tmp_path: Path) -> None:
    """The same sentence by a low, a middle and a high voice, and a female one."""
    pitches = []
    for number, (voice_name, height) in enumerate([("en", 20), ("en", 50), ("en", 90), ("en+f3", 50)]):
        file = tmp_path / f"{number}.wav"
        say = ["espeak-ng", "-v", voice_name, "-p", str(height), "-w", str(file), "I walked along the river today."]
        subprocess.run(say, check=True)
        pitches.append(sound_of(file).pitch or 0)
    low, middle, high, female = pitches
    assert 60 < low < middle < high < 200 < female + 50 < 300


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no recordings to learn from, each with what is said of it."""
    rate, good = 16_000, 0.3 * tone(200, 16_000, 3.0)
    made = {name: folder / f"{name}.wav" for name in ("missing", "empty", "text", "silent", "nan", "long", "header")}
    made["empty"].touch()
    made["text"].write_text("RIFF and then nothing of the kind")
    soundfile.write(made["silent"], np.zeros(rate), rate)
    soundfile.write(made["nan"], np.full(rate, np.nan), rate, subtype="FLOAT")
    soundfile.write(made["long"], np.zeros(3_600 * 2_000, np.int16) + 1, 2_000)
    soundfile.write(made["header"], np.zeros(0), rate)
    made["rate"] = folder / "rate.wav"
    soundfile.write(made["rate"], good, rate)
    head = bytearray(made["rate"].read_bytes())
    head[24:28] = (2**31 - 1).to_bytes(4, "little")
    made["rate"].write_bytes(head)
    for suffix in ("flac", "mp3"):
        soundfile.write(folder / f"cut.{suffix}", good, rate)
        made[f"cut_{suffix}"] = folder / f"cut.{suffix}"
        whole = made[f"cut_{suffix}"].read_bytes()
        made[f"cut_{suffix}"].write_bytes(whole[: len(whole) // 2])
    made["pipe"] = folder / "pipe.wav"
    os.mkfifo(made["pipe"])
    made["folder"] = folder
    made["device"] = Path("/dev/zero")
    made["null"] = folder / "a\0b"
    reasons = {
        "missing": "file missing",
        "empty": "file empty",
        "text": "not readable as audio",
        "silent": "silent",
        "nan": "broken audio: samples that are no numbers",
        "long": "too long: 3,600 s, more than 30 s",
        "header": "file empty: no samples",
        "rate": "broken audio: 2147483647 samples a second",
        "cut_flac": "not readable as audio",
        "cut_mp3": "broken audio: ends after",
        "pipe": "no ordinary file",
        "folder": "no ordinary file",
        "device": "no ordinary file",
        "null": "file not readable",
    }
    return {name: (made[name], reason) for name, reason in reasons.items()}


def test_what_is_no_recording_is_refused_with_a_reason(tmp_path: Path) -> None:
    for name, (path, reason) in broken_files(tmp_path).items():
        with pytest.raises(FileFault) as fault:
            sound_of(path)
        assert str(fault.value).startswith(reason), name


def test_garbled_files_are_measured_or_refused(tmp_path: Path) -> None:
    """Bytes turned over at random places: no other error comes, and nothing but numbers."""
    random = np.random.default_rng(1)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tmp_path / f"clip.{suffix}"
        soundfile.write(path, 0.3 * tone(200, 16_000), 16_000)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            garbled = whole.copy()
            garbled[random.integers(0, len(garbled) if random.random() < 0.5 else 60, 5)] = random.integers(0, 256, 5)
            path.write_bytes(garbled.tobytes())
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    found = sound_of(path)
            except FileFault:
                continue
            assert np.isfinite(found.energy) and 0 < found.duration <= 30
