"""Hostile programs as completions of one step: how many are rewarded or get out, and how long the step takes.

python -m tests.benchmarks.bench_hostile [--programs 1000] [--time-limit 1]
"""

import argparse
import time
from collections import Counter

import synth
from filters.verdict import VerifierSettings
from tests.benchmarks.hostile import TESTS, Bait, some

HONEST = "```python\ndef f(x):\n    return x * x\n```"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--time-limit", type=float, default=1.0)
    arguments = parser.parse_args()
    reward = synth.rewards(VerifierSettings("code", arguments.time_limit, memory_limit=256))
    with Bait() as bait:
        given = some(bait, arguments.programs)
        answers = [answer for _, text in given for answer in (text, HONEST)]
        began = time.monotonic()
        log: dict[str, list[str]] = {}
        rewards = reward(
            ["Square a number."] * len(answers), answers, tests=[TESTS] * len(answers), log_extra=log.__setitem__
        )
        seconds = time.monotonic() - began
        taken = bait.taken()
    reward.close()
    hostile, honest = rewards[::2], rewards[1::2]
    kinds = Counter(name.partition(":")[0] for name, _ in given)
    print(
        f"{len(given):,} hostile programs ({', '.join(f'{count} {kind}' for kind, count in kinds.items())}), each "
        f"before an honest one, in one call: {seconds:,.0f} s"
    )
    print(
        f"hostile: {sum(value == 1 for value in hostile)} rewarded, {hostile.count(0.0)} wrong, "
        f"{hostile.count(None)} unscorable; {len(taken)} traces outside {taken or ''}"
    )
    print(f"honest:  {sum(value == 1 for value in honest)} of {len(honest)} rewarded")
    for (name, _), value, said in zip(given, hostile, log["code: verdict"][::2], strict=True):
        if value is None or value:
            print(f"  {name}: {said}")


if __name__ == "__main__":
    main()
