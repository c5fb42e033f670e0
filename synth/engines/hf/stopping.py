"""From drawn tokens to a completion: where it ends, and its text."""

from collections.abc import Sequence

from synth.engines.base import Completion, Tokenizer

_CONTEXT = 8
"""Tokens decoded in front of where a stop string could begin: some decoders drop the first token's space."""


def decode(tokenizer: Tokenizer, tokens: Sequence[Sequence[int]]) -> list[str]:
    """The texts of token sequences exactly as drawn: special tokens and white space kept."""
    texts: list[str] = tokenizer.decode(
        [list(ids) for ids in tokens], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return texts


def has_stopped(tokenizer: Tokenizer, tokens: Sequence[Sequence[int]], stops: Sequence[tuple[str, ...]]) -> list[bool]:
    """Whether the text of each sequence now holds one of its stop strings.

    Meant to be asked after every token. So only the end of a sequence is decoded, unless that end looks like a stop:
    a character takes at most as many tokens as it has bytes, so a stop string that the newest token completes lies
    within the last `len(stop.encode())` of them.
    """
    reach = [max(len(stop.encode()) for stop in strings) + _CONTEXT for strings in stops]
    ends = decode(tokenizer, [ids[-n:] for ids, n in zip(tokens, reach, strict=True)])
    return [
        first_stop(end, strings) is not None and first_stop(decode(tokenizer, [ids])[0], strings) is not None
        for ids, end, strings in zip(tokens, ends, stops, strict=True)
    ]


def first_stop(text: str, stops: tuple[str, ...]) -> tuple[int, str] | None:
    """Where the first stop string begins in `text`, and which it is; None where there is none."""
    hits = [(text.find(stop), stop) for stop in stops if stop in text]
    return min(hits, key=lambda hit: hit[0], default=None)


def completion(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    stop_ids: frozenset[int],
    stops: tuple[str, ...],
    logprob: float | None,
) -> Completion:
    """The completion that the drawn `tokens` make, cut before the stop id or stop string that ended it."""
    ended = tokens[-1] in stop_ids
    kept = tuple(tokens[:-1] if ended else tokens)
    text = decode(tokenizer, [kept])[0]
    if hit := first_stop(text, stops):
        at, stop = hit
        return Completion(_wholly_before(tokenizer, kept, text[:at]), text[:at], "stop", stop, logprob)
    if ended:
        return Completion(kept, text, "stop", tokens[-1], logprob)
    return Completion(kept, text, "length", None, logprob)


def _wholly_before(tokenizer: Tokenizer, tokens: tuple[int, ...], text: str) -> tuple[int, ...]:
    """The most tokens whose text is a beginning of `text`."""
    for count in range(len(tokens), 0, -1):
        if text.startswith(decode(tokenizer, [tokens[:count]])[0]):
            return tokens[:count]
    return ()
