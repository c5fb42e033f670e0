"""A server's log-probabilities of a prompt, accepted only if they certainly belong to the tokens that were sent.

A server may tokenise differently from the model's tokenizer, put a beginning-of-sequence token first, or leave a token
out: every number after that would be at the wrong token, unnoticed.
"""

from collections.abc import Callable, Sequence

from synth.engines.server.http import printable
from synth.engines.server.wire import Reply
from synth.errors import RequestError

_SPACES = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n"})
"""How some tokenizers spell a space or a line break inside a token."""


def check_prompt(reply: Reply, token_ids: Sequence[int]) -> None:
    """Check that the prompt which a server reports is the one that was sent.

    Raises:
        RequestError: it is another.
    """
    theirs = reply.choices[0].prompt_token_ids
    if theirs is not None and list(theirs) != list(token_ids):
        at = next((i for i, (a, b) in enumerate(zip(theirs, token_ids, strict=False)) if a != b), None)
        where = "" if at is None else f": token {at} is {theirs[at]} there, {token_ids[at]} here"
        raise RequestError(
            f"the server read {len(theirs)} tokens where {len(token_ids)} were sent{where}. It tokenises otherwise, or "
            "adds tokens of its own"
        )


def prompt_scores(
    reply: Reply, token_ids: Sequence[int], drawn: int, as_ids: bool, decode: Callable[[Sequence[int]], str]
) -> list[float]:
    """The log-probabilities (nats) of all tokens of an echoed prompt but the first.

    Args:
        reply: the answer to a request with `echo` and `logprobs`.
        token_ids: what was sent, or what the text is that was sent.
        drawn: how many tokens were asked for besides.
        as_ids: whether the tokens went as ids. Of a text the server must say which tokens it made of it.
        decode: makes text of ids.

    Raises:
        RequestError: there are not exactly as many numbers as tokens, or they are of other tokens.
    """
    check_prompt(reply, token_ids)
    choice, sent = reply.choices[0], len(token_ids)
    values, texts = choice.token_logprobs or (), choice.texts
    if texts is not None and len(texts) != len(values):
        raise RequestError(f"the server sent {len(values)} log-probabilities of {len(texts)} tokens")
    if not sent <= len(values) <= sent + drawn:
        raise RequestError(f"the server scored {len(values)} tokens where {sent} were sent, with {drawn} to be drawn")
    if None in values[1:sent]:
        raise RequestError(f"the server gave no log-probability of token {values.index(None, 1)} of {sent}")
    told = choice.prompt_token_ids is not None
    certain = told or texts is not None
    if texts is not None and not told:
        for at, token in enumerate(token_ids):
            ours = decode([token])
            if not _same(texts[at], ours):
                raise RequestError(
                    f"the server scored other tokens than were sent: token {at} is {printable(texts[at], 40)!r} there, "
                    f"{printable(ours, 40)!r} here"
                )
            certain &= _tells(texts[at], ours)
    if reply.prompt_tokens not in (None, sent) and not certain:
        raise RequestError(f"the server counted {reply.prompt_tokens} tokens where {sent} were sent")
    # One number more than was sent is that of a token drawn, or of one put first: the prompt's count tells.
    placed = told or texts is not None or (as_ids and (drawn == 0 or reply.prompt_tokens == sent))
    if not placed or (texts is None and len(values) < sent + drawn and values[0] is not None):
        raise RequestError("the server does not say which tokens it scored, so that its numbers cannot be placed")
    return [float(value) for value in values[1:sent] if value is not None]


def _same(theirs: str, ours: str) -> bool:
    """Whether two spellings may be of one token. Parts of a character, and special tokens, have no text to compare."""
    if not _tells(theirs, ours):
        return True
    return theirs.translate(_SPACES).strip() == ours.translate(_SPACES).strip()


def _tells(theirs: str, ours: str) -> bool:
    """Whether both spellings are texts, which can be compared."""
    return bool(theirs) and "\ufffd" not in theirs + ours and not theirs.startswith(("bytes:", "token_id:"))
