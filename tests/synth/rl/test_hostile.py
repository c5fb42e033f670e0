"""Hostile programs as completions: none is rewarded, none gets out (`bench_hostile.py` tries a thousand)."""

from typing import Any

import pytest

import synth
from filters.execution.sandbox import isolation_missing
from filters.verdict import VerifierSettings
from tests.benchmarks.hostile import PLACES, TESTS, Bait, attacks, program, some

HONEST = "```python\ndef f(x):\n    return x * x\n```"


def test_the_traps_work() -> None:
    """What reaches for a bait gets it where nothing holds it back, wherever in the program it is."""
    with Bait() as bait:
        reaching = attacks(bait)
        for name in ("a secret of the environment", "a file", "a listing", "a port", "an abstract socket"):
            for place in set(PLACES) - {"at the end"}:
                names: dict[str, Any] = {}
                exec(program(reaching[f"reaches: {name}"], place), names)
                assert names["f"](3) == 9, (name, place)
        assert bait.taken()


@pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))
def test_none_is_rewarded_and_none_gets_out() -> None:
    reward = synth.rewards(VerifierSettings("code", time_limit=3, memory_limit=256))
    table: dict[str, list[str]] = {}
    with Bait() as bait:
        given = [*some(bait, 70, greedy=False), ("takes: sleep", "import time\ntime.sleep(1000)")]
        given.append(("says what breaks tables", "def f(x):\n    raise ValueError('\\udc80\\x1b[2J')"))
        names = [name for attack, _ in given for name in (attack, f"the honest one after {attack}")]
        answers = [answer for _, text in given for answer in (text, HONEST)]
        prompts, tests = ["Square a number."] * len(answers), [TESTS] * len(answers)
        rewards = reward(prompts, answers, tests=tests, log_extra=table.__setitem__)
        assert bait.taken() == []
    reward.close()
    assert all(verdict.isprintable() for verdict in table["code: verdict"])
    found = dict(zip(names, zip(rewards, table["code: verdict"], strict=True), strict=True))
    assert {name: said for name, said in found.items() if (said[0] == 1.0) != name.startswith("the honest")} == {}
