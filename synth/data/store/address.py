"""Addresses of what is elsewhere, such as `s3://bucket/run`: whatever fsspec, or a package that it knows, opens.

Credentials and endpoints are the driver's own affair (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ~/.config/fsspec):
no option of ours takes them, and what an address holds of them (`https://name:password@…`, `…?X-Amz-Signature=…`) is
neither shown nor recorded.
"""

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from synth.errors import SynthError, UsageError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_HERE = ("file", "local")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@|\?\S*")
"""Who asks, and what follows a question mark: signatures, tokens and keys."""
HIDDEN = "…"

ATTEMPTS, PAUSE = 4, 1.0
"""How often a store is asked that fails, and seconds before the second time; each further pause is twice as long."""

Result = TypeVar("Result")


def is_address(place: str) -> bool:
    """Whether a place is elsewhere: not on this machine, by its path or by `file://`."""
    found = _SCHEME.match(place)
    return found is not None and found[1].lower() not in _HERE


def here(place: str) -> str:
    """A place on this machine as a path, where it is an address such as `file:///home/me/rows`."""
    found = _SCHEME.match(place)
    return place[found.end() :] if found and found[1].lower() in _HERE else place


def shown(address: str) -> str:
    """An address, or a message with one in it, without the secrets in it."""
    return _SECRET.sub(lambda found: HIDDEN + "@" if found[0].endswith("@") else "?" + HIDDEN, address)


def opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and what the address is called there.

    Raises:
        UsageError: there is no such kind of address, the package for it is missing or not set up, or the store of it
            cannot be reached.
    """
    import fsspec
    from fsspec.registry import known_implementations

    scheme = address.split("://")[0].lower()
    try:
        fs, path = fsspec.core.url_to_fs(scheme + address[len(scheme) :], use_listings_cache=False)
    except ImportError as error:
        package = known_implementations.get(scheme, {"class": scheme})["class"].split(".")[0]
        raise UsageError(f"{shown(address)}: {scheme}:// needs the package {package}: pip install {package}") from error
    except Exception as error:  # some drivers connect at once, and raise errors of any kind
        if scheme not in fsspec.available_protocols():
            raise UsageError(f"{shown(address)}: {scheme}:// is no kind of address that fsspec knows") from error
        raise UsageError(f"{shown(address)}: {reason(error)}") from error
    return fs, str(path)


@contextmanager
def told(address: str, doing: str = "cannot be read") -> Iterator[None]:
    """Say in one line what a store, or its driver, complains of. Drivers raise errors of any kind.

    Args:
        address: what is asked for.
        doing: what cannot be done.

    Raises:
        UsageError: in place of any error but ours.
    """
    try:
        yield
    except SynthError:
        raise
    except Exception as error:
        raise UsageError(f"{shown(address)} {doing}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What an error of a store comes to, in one line without secrets."""
    text = shown(" ".join(str(error).split()))[:300]
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return text if " " in text else "there is no such bucket or object"
    if isinstance(error, PermissionError):
        return f"not permitted: the credentials in use lack the right ({text or kind})"
    if "Credentials" in kind:
        return f"no credentials: set them up as the store's own tools do ({text or kind})"
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return f"no answer in time ({text or kind})"
    return text if isinstance(error, OSError | ValueError) and text else f"{kind}: {text}"


def is_full(error: BaseException) -> bool:
    """Whether there is no space left on a disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def retried(work: Callable[[], Result], attempts: int = ATTEMPTS, sleep: Callable[[float], Any] = time.sleep) -> Result:
    """What some work with a store gives, tried again where the store may be at fault.

    It is for what moves data. Whoever only asks is answered at once: drivers try again by themselves, some for a while.

    Raises:
        Exception: as `work` does, the last time; at once where trying again cannot help.
    """
    for attempt in range(attempts):
        try:
            return work()
        except Exception as error:
            mends_itself = not isinstance(error, FileNotFoundError | FileExistsError | PermissionError | UsageError)
            mends_itself = mends_itself and not is_full(error)
            if attempt == attempts - 1 or not mends_itself or "Credentials" in type(error).__name__:
                raise
            sleep(PAUSE * 2**attempt)
    raise AssertionError("no attempts")
