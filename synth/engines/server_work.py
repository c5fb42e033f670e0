"""What each of several servers did in one run: for the line of progress, and for `run.json`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from synth.engines.base import ServerUsage, Usage

COUNTS = ("requests", "errors", "prompt_tokens", "completion_tokens", "seconds")
SHOWN = 4
"""Servers whose rates are in the line of progress; of more there is no room but for their number."""


class ServerWork:
    """What the servers of some engines have done since this was made."""

    def __init__(self, usages: Sequence[Usage]) -> None:
        self._usages = usages
        self._before = {id(server): _counts(server) for server in self._servers}

    @property
    def _servers(self) -> list[ServerUsage]:
        return [server for usage in self._usages for server in usage.servers]

    def line(self, seconds: float) -> list[str]:
        """The servers in use, and the tokens of each a second, as a part of the line of progress; none of one server.

        Args:
            seconds: since this was made.
        """
        servers = self._servers
        if len(servers) < 2:
            return []
        rates = ""
        if len(servers) <= SHOWN:
            done = [self._done(server) for server in servers]
            each = ((one["completion_tokens"] or one["prompt_tokens"]) / max(seconds, 1e-6) for one in done)
            rates = ": " + " + ".join(f"{rate:,.0f}" for rate in each) + " tokens/s"
        return [f"{sum(server.state == 'well' for server in servers)} of {len(servers)} servers{rates}"]

    def record(self, earlier: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        """What each server did, as JSON values; None of one server or none.

        Args:
            earlier: the same of the part of the run that was done before this one.
        """
        done = [{"url": server.url, **self._done(server), "state": server.state} for server in self._servers]
        return summed_work([*(earlier or ()), *done])

    def _done(self, server: ServerUsage) -> dict[str, Any]:
        before = self._before.get(id(server), {})
        return {name: value - before.get(name, 0) for name, value in _counts(server).items()}


def _counts(server: ServerUsage) -> dict[str, Any]:
    return {name: value for name, value in asdict(server).items() if name in COUNTS}


def summed_work(parts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """What each server did in several parts of a run, together; None of one server or none.

    Args:
        parts: what a server did in one of them, in order: the state is that of the last.
    """
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        url = str(part.get("url"))
        one = found.setdefault(url, {"url": url})
        one |= {name: one.get(name, 0) + part.get(name, 0) for name in COUNTS}
        one["state"] = part.get("state")
    if len(found) < 2:
        return None
    for one in found.values():
        busy = max(one["seconds"], 1e-6)
        one["seconds"] = round(one["seconds"], 3)
        one["tokens_per_second"] = round((one["completion_tokens"] or one["prompt_tokens"]) / busy, 1)
    return list(found.values())
