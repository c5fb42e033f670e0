"""What the answers to some suites come to: accuracies, what was kept and what was lost, signs of damage."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from synth.evaluation.alarms import NOTEWORTHY
from synth.evaluation.statistics import (
    Retention,
    SuiteScore,
    Transitions,
    paired_interval,
    retention,
    sign_test,
    transitions,
)

Record = Mapping[str, Any]


@dataclass(slots=True)
class Results:
    """One model's answers to all suites.

    Attributes:
        name: what the model is called in tables.
        model: the model.
        verdicts: of each suite, in the order of its items.
        signs: of each suite: shares of answers that were refused, repetitive or cut off, and mean tokens.
        languages: of each suite, in the order of its items; None where it cannot be told.
        new: the suites of the new task.
        unscorable: of each suite with such answers, the commonest reason why one could not be judged.
        divergence: from the first model on the new task's prompts, nats a token.
        perplexity: of given texts, by name.
        harness: what lm-eval found: by task, metric by name.
    """

    name: str
    model: str
    verdicts: dict[str, list[str]]
    signs: dict[str, dict[str, float]]
    languages: dict[str, list[str | None]]
    new: set[str]
    unscorable: dict[str, str] = field(default_factory=dict)
    divergence: float | None = None
    perplexity: dict[str, float] = field(default_factory=dict)
    harness: dict[str, dict[str, float]] = field(default_factory=dict)

    def scores(self) -> list[SuiteScore]:
        """One score a suite."""
        return [
            SuiteScore(
                suite,
                suite in self.new,
                right=verdicts.count("right"),
                wrong=verdicts.count("wrong"),
                unscorable=verdicts.count("unscorable"),
            )
            for suite, verdicts in self.verdicts.items()
        ]


def results_of(name: str, model: str, records: Iterable[Record]) -> Results:
    """Count one model's answers, as `synth.evaluation.run` leaves them."""
    results = Results(name, model, {}, {}, {}, set())
    tokens: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for record in records:
        suite = record["suite"]
        results.verdicts.setdefault(suite, []).append(record["verdict"])
        results.languages.setdefault(suite, []).append(record.get("language"))
        if record["new"]:
            results.new.add(suite)
        if record["verdict"] == "unscorable":
            reasons.setdefault(suite, Counter())[record.get("verdict_reason") or "no reason is told"] += 1
        tokens[suite] += record.get("tokens") or 0
        signs = counts.setdefault(suite, Counter())
        signs.update(sign for sign in ("refused", "repetitive", "cut_off") if record.get(sign))
    results.unscorable = {suite: told.most_common(1)[0][0] for suite, told in reasons.items()}
    for suite, verdicts in results.verdicts.items():
        shares = {sign: counts[suite][sign] / len(verdicts) for sign in ("refused", "repetitive", "cut_off")}
        results.signs[suite] = shares | {"tokens": tokens[suite] / len(verdicts)}
    return results


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model beside the one before it.

    Attributes:
        retention: what was gained and what was kept.
        transitions: of each suite, what became of its items.
        intervals: of each suite, of the change in accuracy (95%).
        chances: of each suite, how likely changes this lopsided are where nothing has changed (exact McNemar test).
        alarms: what else has changed for the worse, for people.
    """

    retention: Retention
    transitions: dict[str, Transitions]
    intervals: dict[str, tuple[float, float]]
    chances: dict[str, float]
    alarms: list[str]


def compare(before: Results, after: Results) -> Comparison:
    """Two models' answers to the same items, paired."""
    moved = {suite: transitions(before.verdicts[suite], after.verdicts[suite]) for suite in before.verdicts}
    return Comparison(
        retention(before.scores(), after.scores()),
        moved,
        {suite: paired_interval(before.verdicts[suite], after.verdicts[suite]) for suite in before.verdicts},
        {suite: sign_test(counts.lost, counts.gained) for suite, counts in moved.items()},
        list(_alarms(before, after)),
    )


def _alarms(before: Results, after: Results) -> Iterable[str]:
    told = {"refused": "are refusals", "repetitive": "go round in circles", "cut_off": "do not end"}
    for suite in before.verdicts:
        for sign, words in told.items():
            was, now = before.signs[suite][sign], after.signs[suite][sign]
            if now - was > NOTEWORTHY:
                yield f"{suite}: {now:.0%} of the answers {words} ({was:.0%} before)"
        both = [
            (old, new)
            for old, new in zip(before.languages[suite], after.languages[suite], strict=True)
            if old is not None and new is not None
        ]
        changed = Counter(new for old, new in both if old != new)
        if both and changed.total() > NOTEWORTHY * len(both):
            most = ", ".join(name for name, _ in changed.most_common(3))
            yield f"{suite}: {changed.total() / len(both):.0%} of the answers are in another language ({most})"


def as_json(results: Sequence[Results]) -> list[dict[str, Any]]:
    """All that is known of some models, each compared with the first, as JSON values."""
    first = results[0]
    models = []
    for result in results:
        comparison = None if result is first else compare(first, result)
        suites: dict[str, dict[str, Any]] = {}
        for score in result.scores():
            suites[score.suite] = {
                "new": score.new,
                "right": score.right,
                "wrong": score.wrong,
                "unscorable": score.unscorable,
                "unscorable_reason": result.unscorable.get(score.suite),
                "accuracy": score.accuracy,
                "interval": list(score.interval),
                **result.signs[score.suite],
            }
            if comparison is not None:
                suites[score.suite] |= {
                    "transitions": asdict(comparison.transitions[score.suite]),
                    "change_interval": list(comparison.intervals[score.suite]),
                    "chance": comparison.chances[score.suite],
                }
        own = retention(result.scores(), result.scores())
        models.append(
            {
                "name": result.name,
                "model": result.model,
                "new": own.new_after,
                "old": own.old_after,
                "kept": comparison.retention.kept if comparison else None,
                "gain": comparison.retention.gain if comparison else None,
                "suites": suites,
                "alarms": comparison.alarms if comparison else [],
                "divergence": result.divergence,
                "perplexity": result.perplexity,
                "lm_eval": result.harness,
            }
        )
    return models


def share_of(model: Mapping[str, Any], sign: str) -> float:
    """Share of all of a model's answers that show a sign.

    Args:
        model: as `as_json` gives it.
        sign: "refused", "repetitive" or "cut_off".
    """
    counts = [
        (suite[sign], suite["right"] + suite["wrong"] + suite["unscorable"]) for suite in model["suites"].values()
    ]
    answers = sum(count for _, count in counts)
    return sum(share * count for share, count in counts) / answers if answers else 0.0


def harness_lines(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[float | None]]]:
    """What lm-eval found of some models: "task metric" and its value for each of them, None where it has none.

    Standard errors and mean lengths are left out: they are no scores.

    Args:
        models: as `as_json` gives them.
    """
    names = dict.fromkeys(
        (task, metric) for model in models for task, metrics in model["lm_eval"].items() for metric in metrics
    )
    for task, metric in names:
        if "stderr" not in metric and metric != "sample_len":
            yield f"{task} {metric}", [model["lm_eval"].get(task, {}).get(metric) for model in models]


def pick(models: Sequence[dict[str, Any]], keep: float) -> dict[str, Any]:
    """The model of a sweep to take, of those after the first.

    Of the models that keep enough of the old average it is the best at the new task; where none does, the one that
    keeps most.

    Args:
        models: as `as_json` gives them.
        keep: share of the first model's old average.
    """
    sound = [model for model in models[1:] if (model["kept"] or 0) >= keep]
    if sound:
        best = max(sound, key=lambda model: model["new"] or 0)
    else:
        best = max(models[1:], key=lambda model: model["kept"] or 0)
    return {name: best[name] for name in ("name", "model", "new", "kept")} | {"keep": keep, "enough": bool(sound)}
