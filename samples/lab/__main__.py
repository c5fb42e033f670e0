"""Run the lab: `python -m samples.lab -o lab`. Killed at any moment, the same command goes on.

Hours on two cores, minutes with `--scale 0.05`. Writes results.json and table.md as arms are done, then plots. With
`--only`, results.json and rates.json keep what they have of other arms: copied into DIR, the results beside this file
grow by what is run.
"""

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from samples.lab.arms import ADAPTER_RATES, ARMS, ITEMS, RATES, REPLAY, STEPS, TASKS, Arm
from samples.lab.commands import read_json
from samples.lab.suites import write_suites
from samples.lab.table import draw, table
from samples.lab.trial import Lab, run_arm, try_rate

SHOWN = ("plain SFT", "Magpie 20%", "Magpie 20%, a third of the rate", "self-output + Magpie 20%, a third of the rate")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("lab"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--scale", type=float, default=1.0, help="of steps, tasks, replay and items: 0.05 for a look")
    parser.add_argument("--only", nargs="+", metavar="ARM", help="these arms alone")
    given = parser.parse_args()
    known = [arm.name for arm in ARMS]
    if unknown := [name for name in given.only or () if name not in known]:
        parser.error(f"no arm {unknown[0]!r}; there are: {', '.join(known)}")
    arms = [arm for arm in ARMS if not given.only or arm.name in given.only]
    steps, tasks, replay, items = (max(3, round(given.scale * whole)) for whole in (STEPS, TASKS, REPLAY, ITEMS))
    lab = Lab(given.output, steps, tasks, replay)
    for split in ("dev", "test"):
        if not (lab.folder / "suites" / split / "new").exists():
            write_suites(lab.folder / "suites" / split, split, items, 2 * items)
    _make_data(lab, arms)
    rates = _rates(lab, arms, given.jobs)
    _run(lab, arms, rates, given.seeds, given.jobs)


def _make_data(lab: Lab, arms: list[Arm]) -> None:
    """All sets, before any training, since several arms share them."""
    for arm in arms:
        lab.data.target(arm.target, arm.style)
        for name, _ in arm.replay:
            lab.data.replay(name, scored=arm.target.startswith("masked"))
        if arm.beside:
            lab.data.replay(arm.beside, scored=False)


def _rates(lab: Lab, arms: list[Arm], jobs: int) -> dict[tuple[str, bool], str]:
    """The learning rate for each style, of whole models and of adapters: what brings the new skill furthest on dev."""
    file = lab.folder / "rates.json"
    chosen: dict[tuple[str, bool], str] = {}
    found = read_json(file) if file.exists() else {}
    with ThreadPoolExecutor(jobs) as pool:
        for key in dict.fromkeys((arm.style, "--lora" in arm.train) for arm in arms if arm.own_rate is None):
            style, adapter = key
            sort = next(arm for arm in ARMS if (arm.style, "--lora" in arm.train) == key)
            plain = Arm(f"{style} {'adapter' if adapter else 'whole'}", "", style=style, train=sort.train)
            rates = ADAPTER_RATES if adapter else RATES
            tried = dict(zip(rates, pool.map(lambda rate: try_rate(lab, plain, rate), rates), strict=True))  # noqa: B023
            chosen[key] = max(rates, key=lambda rate: tried[rate]["new"])
            found[plain.name] = {"chosen": chosen[key], "tried": tried}
            _say(f"{plain.name}: rate {chosen[key]}")
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return chosen


def _run(lab: Lab, arms: list[Arm], rates: dict[tuple[str, bool], str], seeds: int, jobs: int) -> None:
    began = time.monotonic()
    file = lab.folder / "results.json"
    results = {result["arm"]: result for result in (read_json(file) if file.exists() else [])}
    done = 0
    with ThreadPoolExecutor(jobs) as pool:
        asked = {
            pool.submit(run_arm, lab, arm, seeds, arm.own_rate or rates[arm.style, "--lora" in arm.train]): arm.name
            for arm in arms
        }
        for future in as_completed(asked):
            results[asked[future]] = future.result()
            found = [results[arm.name] for arm in ARMS if arm.name in results]
            file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            (lab.folder / "table.md").write_text(table(found), encoding="utf-8")
            runs = results[asked[future]]["test"]
            new, kept = (statistics.mean(run[name] for run in runs) for name in ("new", "kept"))
            minutes, done = (time.monotonic() - began) / 60, done + 1
            _say(f"{done} of {len(arms)}, {minutes:.0f} min: {asked[future]}: new {new:.1%}, kept {kept:.1%}")
    draw(found, lab.folder, SHOWN)
    print(table(found))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
