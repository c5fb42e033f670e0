"""The command, and the page in a real browser (headless Chromium, where it is installed)."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from synth.chat.format import ChatFormat
from synth.data.row import MESSAGES
from synth.data.write import open_writer
from tests.cli.running import synth
from tests.conftest import Here

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = "</script><img src=x onerror=document.title='broken'>"
PROBE = """<script>
new MutationObserver(() => parent.postMessage(`${innerWidth} ${document.documentElement.scrollWidth}`, "*"))
  .observe(document.documentElement, { attributeFilter: ["data-ready"] });
</script>"""
PHONE = """<!DOCTYPE html><script>onmessage = ({ data }) => { document.documentElement.dataset.wide = data; };</script>
<iframe src="probed.html" width="390" height="800" style="border: 0"></iframe>"""
"""A window that is narrower than headless browsers go; the page tells its own width and that of its contents."""

browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


def dom(page: Path, tmp_path: Path, hash: str = "") -> str:
    """The document after its script ran."""
    assert CHROMIUM is not None
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=20000 --window-size=1200,900"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri() + hash]
    done = subprocess.run(command, capture_output=True, timeout=300)
    text = done.stdout.decode("utf-8", "replace")
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> str:
    with open_writer(str(path), schema) as writer:
        writer.write(pa.RecordBatch.from_pylist(rows, schema=schema))
    return str(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, chat: ChatFormat, model: str) -> Path:
    """Two scored data sets that answer the same prompts, one with hostile texts, and rejected rows."""
    folder = tmp_path_factory.mktemp("report")
    schema = pa.schema(
        [
            ("messages", MESSAGES),
            *((name, pa.string()) for name in ("id", "method", "verdict", "scorer")),
            ("input_ids", pa.list_(pa.int32())),
            ("labels", pa.list_(pa.int32())),
            ("logprobs", pa.list_(pa.float32())),
        ]
    )
    for name, method in (("human", None), ("own", "self-output")):
        rows = []
        for number in range(12):
            chance = Random(f"{name}{number}")
            answer = f"Answer {number} of {name}: 日本 {EVIL if number == 5 else 'plain'} " + "long" * 60
            messages = [
                {"role": "user", "content": f"Needle{number} in the hay?"},
                {"role": "assistant", "content": answer},
            ]
            encoded = chat.encode(messages)
            logprobs = [-chance.expovariate(0.7) if trained else None for trained in encoded.trained]
            labels = [
                -100 if value is None or value < -3 else token
                for token, value in zip(encoded.input_ids, logprobs, strict=True)
            ]
            rows.append(
                {
                    "messages": messages,
                    "id": f"{name}{number}",
                    "method": method,
                    "verdict": "right" if number % 2 else "wrong",
                    "scorer": f"{model} rev assistant",
                    "input_ids": encoded.input_ids,
                    "labels": labels,
                    "logprobs": logprobs,
                }
            )
        write(folder / name, rows, schema)
    rejected = [{"messages": [{"role": "user", "content": "Refused"}], "reason": f"bad: {EVIL}"}]
    write(folder / "own" / "rejected", rejected, pa.schema([("messages", MESSAGES), ("reason", pa.string())]))
    assert synth("report", folder / "human", folder / "own", "-o", folder / "page.html") == 0
    return folder / "page.html"


def test_refusals_are_one_line(here: Here, tmp_path: Path, page: Path) -> None:
    human = str(page.parent / "human")
    for arguments, message in (
        ((str(tmp_path / "none"), "-o", str(tmp_path / "p.html")), "does not exist"),
        ((human, "-o", str(page)), "--force"),
    ):
        done = here("report", *arguments)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    done = here("report", human, page.parent / "own", "-o", tmp_path / "p.html")
    assert done.returncode == 0 and "25 rows" in done.stderr and done.stdout == ""
    done = here("report", human, "-o", tmp_path / "p.html", "--force", "--quiet")
    assert done.returncode == 0 and done.stderr == ""


@browser
def test_heat_maps_side_by_side(page: Path, tmp_path: Path) -> None:
    text = dom(page, tmp_path)
    assert 'data-ready="' in text and "page is damaged" not in text
    groups = re.findall(r'<article class="group">.*?</article>', text, re.DOTALL)
    assert len(groups) == 5 and all(group.count('class="version"') == 2 for group in groups)
    assert re.search(r'class="t h[2-5] hard"', text) and re.search(r'class="t h[0-5]( hard)? masked"', text)
    assert re.search(r'class="t u"', text) and 'class="t special u"' in text
    assert ">日<" in text.replace(" 日", "日") and "\ufffd" not in text
    assert "<img" not in text and "<title>broken" not in text
    assert "1 of 3" in text  # pages of groups


@browser
def test_search_and_filters(page: Path, tmp_path: Path) -> None:
    text = dom(page, tmp_path, "#q=needle7+HAY")
    assert 'data-state="done"' in text and "2 of 25 rows" in text
    assert text.count('<details class="row"') == 2 and "<mark>Needle7</mark>" in text
    text = dom(page, tmp_path, "#s=1")
    assert "1 of 25 rows" in text and "rejected: bad: &lt;/script&gt;&lt;img" in text
    text = dom(page, tmp_path, "#d=0&v=1&o=high")
    assert "6 of 25 rows" in text
    shown = [float(value) for value in re.findall(r"perplexity ([\d.]+)</bdi>", text)]
    assert shown == sorted(shown, reverse=True) and len(shown) == 6
    assert "0 of 25 rows" in dom(page, tmp_path, "#q=nowhere")


@browser
def test_nothing_overflows_on_a_phone(page: Path, tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</head>", PROBE + "</head>")
    probed.write_text(text, encoding="utf-8")
    (tmp_path / "phone.html").write_text(PHONE)
    found = re.search(r'data-wide="(\d+) (\d+)"', dom(tmp_path / "phone.html", tmp_path))
    assert found is not None and found[1] == "390" and int(found[2]) <= 390


@browser
def test_fifty_thousand_rows_open_in_seconds(here: Here, tmp_path: Path) -> None:
    chance = Random("many rows")
    words = [f"word{number}" for number in range(2000)]
    rows = [
        {
            "messages": [
                {"role": "user", "content": " ".join(chance.choices(words, k=20))},
                {"role": "assistant", "content": " ".join(chance.choices(words, k=60)) + f" mark{number}."},
            ]
        }
        for number in range(50_000)
    ]
    source = write(tmp_path / "many", rows, pa.schema([("messages", MESSAGES)]))
    done = here("report", source, "-o", str(tmp_path / "many.html"))
    assert done.returncode == 0, done.stderr
    started = time.monotonic()
    text = dom(tmp_path / "many.html", tmp_path)
    opened = time.monotonic() - started
    assert 'data-ready="' in text and "50,000 rows" in text and text.count('<details class="row"') == 25
    started = time.monotonic()
    text = dom(tmp_path / "many.html", tmp_path, "#q=mark49999.")
    searched = time.monotonic() - started
    assert "1 of 50,000 rows" in text
    print(f"opened in {opened:.1f} s, searched in {searched:.1f} s, browser's own start included")
    assert opened < 30 and searched < 60
