"""How long a server asks to be left alone: Retry-After, and the headers that count down to a rate limit."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 120.0
"""Most seconds that a server is left alone because it asks for it."""
BUSY_STATUSES = frozenset({429, 503, 529})
"""Too many requests, or too much work; 529 is Anthropic's."""

_COUNTS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_EPOCH = 1e9
"""A larger number of seconds is a date (Unix)."""


def pause_asked(headers: Mapping[str, str], *, turned_away: bool) -> float | None:
    """Seconds for which a server wants no further request, at most `LONGEST_PAUSE`; None where it does not say.

    Retry-After (RFC 9110, 10.2.3) counts where the request was turned away. A limit that is used up counts at any
    answer, in the forms of OpenAI, Azure and the IETF draft `RateLimit`.

    Args:
        headers: of the answer; names in any case, as httpx has them.
        turned_away: whether the answer is an error of the kind that passes.
    """
    waits: list[float | None] = []
    if turned_away:
        milliseconds = seconds_of(headers.get("retry-after-ms", ""))
        waits.append(None if milliseconds is None else milliseconds / 1000)
        if waits == [None]:
            waits = [seconds_of(headers.get("retry-after", ""))]
    if waits in ([], [None]):
        waits = [
            seconds_of(headers.get(reset, ""))
            for remaining, reset in _COUNTS
            if headers.get(remaining, "").strip() in ("0", "0.0")
        ]
    known = [wait for wait in waits if wait is not None]
    return min(max(known), LONGEST_PAUSE) if known else None


def seconds_of(text: str) -> float | None:
    """Seconds from now, of a number, a duration such as `1m30s` or `20ms`, or a date; None where it is none of them."""
    text = text.strip()[:64]
    if re.fullmatch(r"\d{1,30}(\.\d{1,9})?", text):
        number = float(text)
        return max(0.0, number - time.time()) if number > _EPOCH and number < 100 * _EPOCH else number
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    date = _date(text)
    return None if date is None else max(0.0, (date - datetime.now(UTC)).total_seconds())


def _date(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = read(text)
        except (ValueError, OverflowError, TypeError):
            continue
        return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return None
