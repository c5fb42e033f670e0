"""How a server's level of concurrency, pauses, budgets and addresses come out, without a server."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from synth.engines.server.addresses import Addresses
from synth.engines.server.level import FIRST, Level
from synth.engines.server.limits import LONGEST_PAUSE, pause_asked, seconds_of
from synth.engines.server.retries import Luck, RetryBudget
from synth.errors import UsageError


class Capacity:
    """A server that does `slots` requests at once in a second each, and answers 429 to more; by steps of time."""

    def __init__(self, slots: int, ceiling: int = 256) -> None:
        self.level, self.slots, self.now = Level(ceiling), slots, 0.0
        self.turned_away = 0

    def second(self) -> int:
        """One second with as many requests as the level allows; returns how many were answered."""
        sent = int(self.level.limit)
        done = min(sent, self.slots)
        for _ in range(sent - done):
            self.turned_away += 1
            self.level.turned_away(self.now, self.now + 0.001)
        for _ in range(done):
            self.level.answered(self.now, self.now + 1, 50, sent)
        self.now += 1.01
        return done


@pytest.mark.parametrize("slots", [1, 8, 50, 200, 1000])
def test_the_level_comes_to_what_a_server_can_do(slots: int) -> None:
    server = Capacity(slots)
    for _ in range(12):
        server.second()
    before = server.turned_away
    busy = sum(server.second() for _ in range(40)) / (40 * min(slots, 256))
    assert busy > 0.85
    assert server.turned_away - before < 0.5 * 40 * slots + 80


def test_it_starts_low_and_rises_fast() -> None:
    level = Level(256)
    assert level.limit == FIRST
    for number in range(FIRST):
        level.answered(0.0, 1.0 + number / 1000, 50, FIRST)
    assert level.limit == 2 * FIRST
    assert Level(8).limit == 8


def test_no_more_where_no_more_is_used() -> None:
    level = Level(256)
    for number in range(500):
        level.answered(number, number + 1, 50, 3)
    assert level.limit == FIRST


def test_one_cut_a_round() -> None:
    level = Level(64)
    for _ in range(60):
        level.cut(sent=1.0, now=2.0)
    assert level.limit == 32
    assert not level.cut(sent=1.5, now=3.0) and level.cut(sent=2.5, now=3.0)
    assert level.limit == 16


@pytest.mark.parametrize(("takes", "least"), [(0.001, 40), (1.0, 60)])
def test_errors_that_fall_by_chance_do_not_bring_it_down(takes: float, least: int) -> None:
    level = Level(64)
    for number in range(3000):
        sent = float(number // 64)
        if number % 3 == 0:
            level.turned_away(sent, sent + takes)
        else:
            level.answered(sent, sent + 1, 50, 64)
    assert level.limit > least


@pytest.mark.parametrize(("beside", "falls"), [(64, True), (256, False)])
def test_a_server_that_grows_slow_is_given_less_unless_more_is_there(beside: int, falls: bool) -> None:
    level = Level(64)
    for number in range(200):
        level.answered(number, number + 1, 50, 64)
    for number in range(200, 300):
        level.answered(number, number + 3, 50, beside)
    assert (level.limit < 64) == falls


def test_shorter_answers_are_no_slower_server() -> None:
    level = Level(64)
    for number in range(640):
        level.answered(number // 64, number // 64 + 1, 50, 64)
    for number in range(640, 1280):
        level.answered(number // 64, number // 64 + 1, 5, 64)
    assert level.limit > 60


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after": "0"}, 0, 0),
        ({"retry-after": "HTTP-DATE"}, 20, 31),
        ({"retry-after": "9" * 20}, LONGEST_PAUSE, LONGEST_PAUSE),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25, 0.25),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2s"}, 62, 62),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02, 0.02),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "5"}, 5, 5),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "EPOCH"}, 20, 31),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "ISO-DATE"}, 20, 31),
    ],
)
def test_pauses_that_are_asked_for(headers: dict[str, str], least: float, most: float) -> None:
    date = datetime.now(UTC) + timedelta(seconds=30)
    dates = {
        "HTTP-DATE": format_datetime(date, usegmt=True),
        "ISO-DATE": date.isoformat(),
        "EPOCH": str(int(date.timestamp())),
    }
    pause = pause_asked({name: dates.get(value, value) for name, value in headers.items()}, turned_away=True)
    assert pause is not None and least <= pause <= most


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": "soon"},
        {"retry-after": "\x00"},
        {"retry-after": "-1"},
        {"retry-after": "1e9"},
        {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "60s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1 fortnight"},
    ],
)
def test_what_asks_for_none(headers: dict[str, str]) -> None:
    assert pause_asked(headers, turned_away=True) is None
    assert pause_asked({"retry-after": "7"}, turned_away=False) is None


def test_a_past_date_is_no_pause() -> None:
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_further_tries_are_about_as_many_as_answers() -> None:
    budget = RetryBudget(64)
    assert sum(budget.take() for _ in range(1000)) == 64
    for _ in range(10):
        budget.answered()
    budget.passed(2.0)
    assert sum(budget.take() for _ in range(1000)) == 12


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 6, 6), (0.01, 6, 6), (0.3, 14, 24), (0.99, 200, 200)])
def test_failures_are_held_against_a_request_only_beyond_chance(share: float, least: int, most: int) -> None:
    luck = Luck(6)
    for number in range(1000):
        luck.tried(failed=int(number * share) != int((number + 1) * share))
    assert least <= luck.enough(own_first=True) <= most


def test_the_first_request_that_fails_is_not_proof_of_bad_luck() -> None:
    luck = Luck(3)
    luck.tried(failed=True)
    assert luck.enough(own_first=True) == 3


@pytest.mark.parametrize("text", ["", "# none\n", "http://a\nnonsense\n", "\x00\xff", "http://a#fragment\n"])
def test_a_file_without_usable_addresses(text: str, tmp_path: Path) -> None:
    file = tmp_path / "servers"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"servers") as told:
        Addresses(str(file))
    assert "\n" not in str(told.value)


def test_addresses_in_a_file_are_taken_once_each(tmp_path: Path) -> None:
    file = tmp_path / "servers"
    file.write_text("\ufeff# rack 1\r\nhttp://a:8000/v1\r\n  http://b  # slow\n\nhttp://a:8000/\n", encoding="utf-8")
    assert Addresses(str(file)).roots == ["http://a:8000", "http://b"]
    assert Addresses(["http://a", "http://a/v1"]).roots == ["http://a"]
