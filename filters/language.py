"""The language of a row, as py3langid tells it (a naive Bayes classifier of byte n-grams that ships its model).

A sample of each text is enough for it, and bounds what long rows cost. Source: Lui and Baldwin 2012, "langid.py: An
Off-the-shelf Language Identification Tool" (ACL demonstrations), of which py3langid is a faster fork.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import polars as pl
from py3langid.langid import MODEL_FILE, LanguageIdentifier

CONFIDENCE = 0.7
"""Probability, over all languages of the model, under which a language is not taken for told."""

FEWEST_LETTERS = 20
_SAMPLE = 100
_MOST_CODE = 0.06

_FENCED = r"(?s)```.*?(?:```|\z)|`[^`\n]+`|https?://\S+"


def language(wanted: Sequence[str]) -> Callable[[pl.DataFrame], pl.Series]:
    """Rows in another language: "language: es".

    Judged are the first and last `_SAMPLE` characters of the column `text` without code and addresses: how the user
    asks and how the answer ends. Not judged are null texts, fewer than `FEWEST_LETTERS` letters, code (by the share of
    its brackets, semicolons, underscores and equals signs) and what the model is not sure of.

    Args:
        wanted: languages that pass, as ISO 639-1 codes ("en").

    Raises:
        ValueError: a code the model does not have.
    """
    known = _identifier().labels
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(f"no such language: {', '.join(unknown)} (there are {', '.join(sorted(known))})")

    def judge(frame: pl.DataFrame) -> pl.Series:
        samples = frame.select(_sample().alias("sample")).to_series()
        distinct = samples.drop_nulls().unique(maintain_order=True)
        told = [_identifier().classify(sample) for sample in distinct]
        reasons = pl.Series(
            [f"language: {code}" if code not in wanted and sure >= CONFIDENCE else None for code, sure in told],
            dtype=pl.String,
        )
        return samples.replace_strict(distinct, reasons, default=None, return_dtype=pl.String).alias("reason")

    return judge


def _sample() -> pl.Expr:
    """What is judged of each text, null where nothing is."""
    text = pl.col("text").cast(pl.String)
    fenced = pl.when(text.str.contains_any(["`", "://"])).then(text).str.replace_all(_FENCED, " ")
    prose = pl.coalesce(fenced, text)
    length = prose.str.len_chars()
    sample = (
        pl.when(length <= 2 * _SAMPLE)
        .then(prose)
        .otherwise(pl.concat_str(prose.str.head(_SAMPLE), prose.str.tail(_SAMPLE), separator="\n"))
    )
    code = sample.str.count_matches(r"[{}()\[\];=<>_]") > _MOST_CODE * sample.str.len_chars()
    enough = sample.str.contains(rf"(?:\p{{L}}\P{{L}}*){{{FEWEST_LETTERS}}}")  # stops at the last it needs
    return pl.when(enough, ~code).then(sample)


@cache
def _identifier() -> LanguageIdentifier:
    """The model, loaded once; probabilities over all languages."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.nb_ptc = identifier.nb_ptc.astype(
        np.float32
    )  # it comes in half precision, which numpy multiplies slowly
    return identifier
