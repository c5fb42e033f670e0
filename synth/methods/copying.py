"""Measures how much of one text is copied from another, in tokens, which works for every language."""

from collections.abc import Sequence

RUN = 8
"""Tokens in a row that two texts seldom share by chance."""


def copied(tokens: Sequence[int], source: Sequence[int]) -> float:
    """The share of a text's tokens that lie in runs of `RUN` (of all, in a shorter text) which `source` has as well."""
    if not tokens:
        return 0.0
    size = min(RUN, len(tokens))
    known = {tuple(source[at : at + size]) for at in range(len(source) - size + 1)}
    covered, reached = 0, 0
    for at in range(len(tokens) - size + 1):
        if tuple(tokens[at : at + size]) in known:
            covered += at + size - max(at, reached)
            reached = at + size
    return covered / len(tokens)
