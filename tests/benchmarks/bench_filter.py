"""Rows a second of each heuristic and of all together, of personal data, secrets and language: 200,000 made-up rows.

The rows look like Alpaca's: 100 words on the mean (a prompt of 15 to 35 words, an answer of 10 to 140), one in four
with a list, one in ten with code, one in twenty with letters beyond ASCII. polars uses two threads.

    python tests/benchmarks/bench_filter.py [--rows 200000]
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("POLARS_MAX_THREADS", "2")  # read once, when polars is imported

import polars as pl
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from filters import heuristics
from filters.language import CONFIDENCE, language
from filters.personal import personal_data, secrets

CODE = "\n```python\ndef area(width, height):\n    return width * height\n\nprint(area(3, 4))\n```"

HEURISTICS = {
    "characters": heuristics.characters("answer", 10, 20_000),
    "words of the prompt": heuristics.words("prompt", 3, 2_000),
    "words of the answer": heuristics.words("answer", 5, 2_000),
    "repeated words": heuristics.repeated_words(),
    "repeated lines": heuristics.repeated_lines(),
    "symbols": heuristics.symbols(),
    "digits": heuristics.digits(),
    "unfinished": heuristics.unfinished(),
    "refusal": heuristics.refusal(),
    "template debris": heuristics.template_debris(),
    "roles": heuristics.roles(),
}
OTHERS = {"personal data": personal_data(), "secrets": secrets(), "language": language(("en",))}
ROW_BY_ROW = 5_000
"""Rows that py3langid is given one at a time, as the rival of "language"."""


class Writer:
    """Sentences of made-up words whose frequencies fall as in a language."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        weights = [1 / (rank + 2) for rank in range(len(letters))]
        words = ["".join(self.random.choices(letters, weights, k=self.random.randint(2, 9))) for _ in range(20_000)]
        self.pool = self.random.choices(words, [1 / (rank + 10) for rank in range(len(words))], k=500_000)

    def sentences(self, words: int) -> str:
        text = []
        while words > 0:
            length = min(words, self.random.randint(6, 18))
            start = self.random.randrange(len(self.pool) - length)
            text.append(" ".join(self.pool[start : start + length]).capitalize() + ".")
            words -= length
        return " ".join(text)

    def answer(self) -> str:
        text = self.sentences(self.random.randint(10, 140))
        kind = self.random.random()
        if kind < 0.25:
            text = text.replace(". ", ".\n- ")
        elif kind < 0.35:
            text += CODE
        if self.random.random() < 0.05:
            text = text.replace("e", "é")
        return text


def rows(count: int) -> pl.DataFrame:
    """The frame that filters are called with, and the roles."""
    writer = Writer(0)
    prompts = [writer.sentences(writer.random.randint(15, 35)) for _ in range(count)]
    answers = [writer.answer() for _ in range(count)]
    frame = pl.DataFrame({"id": [f"{row:x}" for row in range(count)], "prompt": prompts, "answer": answers})
    return frame.with_columns(
        text=pl.format("{}\n\n{}", "prompt", "answer"),
        roles=pl.lit(pl.Series([["user", "assistant"]])).first(),
    )


def seconds(work: Callable[[], object]) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Prints one line a heuristic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    frame = rows(parser.parse_args().rows)
    size = sum(frame["text"].str.len_bytes()) / 1e6
    words = frame["text"].str.count_matches(r"\S+").sum() / len(frame)
    print(f"{len(frame):,} rows, {words:.0f} words each, {size:.0f} MB, {pl.thread_pool_size()} threads")
    _measure(HEURISTICS, frame)
    took = seconds(lambda: heuristics.apply(list(HEURISTICS.values()), frame))
    print(f"{'all together':24}{len(frame) / took:>14,.0f} rows/s")
    _measure(OTHERS, frame)
    _measure({"language, row by row": _row_by_row()}, frame.head(ROW_BY_ROW))


def _row_by_row() -> Callable[[pl.DataFrame], pl.Series]:
    """The same texts, each given to py3langid's own `classify`."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def judge(frame: pl.DataFrame) -> pl.Series:
        told = [identifier.classify(text[:100] + "\n" + text[-100:]) for text in frame["text"]]
        return pl.Series(
            [code if code != "en" and sure >= CONFIDENCE else None for code, sure in told], dtype=pl.String
        )

    return judge


def _measure(filters: Mapping[str, Callable[[pl.DataFrame], pl.Series]], frame: pl.DataFrame) -> None:
    for name, judge in filters.items():
        took = seconds(lambda judge=judge: judge(frame))  # type: ignore[misc]
        failed = len(judge(frame).drop_nulls())
        print(f"{name:24}{len(frame) / took:>14,.0f} rows/s {failed:>8} failed")


if __name__ == "__main__":
    main()
