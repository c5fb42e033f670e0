"""Scores of the answers to some suites: accuracies, what was kept and lost, signs of damage."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from synth.chat.thinking import Mode
from synth.evaluation.alarms import NOTEWORTHY, switch_alarms
from synth.evaluation.statistics import (
    Retention,
    SuiteScore,
    Transitions,
    paired_interval,
    retention,
    sign_test,
    transitions,
)
from synth.evaluation.switch import ABILITIES, Observed, by_mode

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
        switch: of each suite that was asked in a mode, what was seen of it.
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
    switch: dict[str, Observed] = field(default_factory=dict)
    unscorable: dict[str, str] = field(default_factory=dict)
    divergence: float | None = None
    perplexity: dict[str, float] = field(default_factory=dict)
    harness: dict[str, dict[str, float]] = field(default_factory=dict)

    def modes(self) -> dict[Mode, Observed]:
        """What was seen of the switch, by mode."""
        return by_mode(self.switch, self.new)

    def abilities(self) -> dict[str, list[str]]:
        """The verdicts of all that is kept or lost: on the suites, and on obeying the switch."""
        return self.verdicts | {ABILITIES[mode]: observed.verdicts for mode, observed in self.modes().items()}

    def scores(self) -> list[SuiteScore]:
        """One score for each ability."""
        return [
            SuiteScore(
                name,
                name in self.new,
                right=verdicts.count("right"),
                wrong=verdicts.count("wrong"),
                unscorable=verdicts.count("unscorable"),
            )
            for name, verdicts in self.abilities().items()
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
            reasons.setdefault(suite, Counter())[record.get("verdict_reason") or "no reason given"] += 1
        tokens[suite] += record.get("tokens") or 0
        if mode := record.get("mode"):
            results.switch.setdefault(suite, Observed(mode)).add(record)
        signs = counts.setdefault(suite, Counter())
        signs.update(sign for sign in ("refused", "repetitive", "cut_off") if record.get(sign))
    results.unscorable = {suite: told.most_common(1)[0][0] for suite, told in reasons.items()}
    for suite, verdicts in results.verdicts.items():
        shares = {sign: counts[suite][sign] / len(verdicts) for sign in ("refused", "repetitive", "cut_off")}
        results.signs[suite] = shares | {"tokens": tokens[suite] / len(verdicts)}
    return results


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model compared with the first one.

    Attributes:
        retention: what was gained and what was kept.
        transitions: of each ability, what became of its items.
        intervals: of each ability, of the change in accuracy (95%).
        chances: of each ability, how likely changes this lopsided are where nothing has changed (exact McNemar test).
        alarms: what else has changed for the worse, for people.
    """

    retention: Retention
    transitions: dict[str, Transitions]
    intervals: dict[str, tuple[float, float]]
    chances: dict[str, float]
    alarms: list[str]


def compare(before: Results, after: Results) -> Comparison:
    """Two models' answers to the same items, paired."""
    later = after.abilities()
    pairs = {name: (verdicts, later[name]) for name, verdicts in before.abilities().items()}
    moved = {name: transitions(*pair) for name, pair in pairs.items()}
    return Comparison(
        retention(before.scores(), after.scores()),
        moved,
        {name: paired_interval(*pair) for name, pair in pairs.items()},
        {name: sign_test(counts.lost, counts.gained) for name, counts in moved.items()},
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
    yield from switch_alarms(before.modes(), after.modes())


def as_json(results: Sequence[Results]) -> list[dict[str, Any]]:
    """The results of some models, each compared with the first, as JSON values."""
    first = results[0]
    models = []
    for result in results:
        comparison = None if result is first else compare(first, result)
        figures = {score.suite: _figures(score, comparison) for score in result.scores()}
        suites = {
            suite: figures[suite]
            | {"unscorable_reason": result.unscorable.get(suite), **result.signs[suite]}
            | (result.switch[suite].figures() if suite in result.switch else {})
            for suite in result.verdicts
        }
        modes = {mode: figures[ABILITIES[mode]] | seen.figures() for mode, seen in result.modes().items()}
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
                "modes": modes,
                "alarms": comparison.alarms if comparison else [],
                "divergence": result.divergence,
                "perplexity": result.perplexity,
                "lm_eval": result.harness,
            }
        )
    return models


def _figures(score: SuiteScore, comparison: Comparison | None) -> dict[str, Any]:
    """One ability as JSON values, and what became of it."""
    figures: dict[str, Any] = {
        "new": score.new,
        "right": score.right,
        "wrong": score.wrong,
        "unscorable": score.unscorable,
        "accuracy": score.accuracy,
        "interval": list(score.interval),
    }
    if comparison is None:
        return figures
    return figures | {
        "transitions": asdict(comparison.transitions[score.suite]),
        "change_interval": list(comparison.intervals[score.suite]),
        "chance": comparison.chances[score.suite],
    }


def abilities_of(model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a model is scored on, by name: the suites, and obeying the switch.

    Args:
        model: as `as_json` gives it, or as an earlier release did.
    """
    return dict(model["suites"]) | {ABILITIES[mode]: figures for mode, figures in model.get("modes", {}).items()}


def thought_lines(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """How long some models' thoughts are where they are to think, and how many do not end, for people.

    Args:
        models: as `as_json` gives them, or as an earlier release did.
    """
    thinking = [model.get("modes", {}).get("thinking") for model in models]
    if not any(thinking):
        return
    yield "tokens of thoughts, median", ["" if one is None else f"{one['thought_tokens']:,.0f}" for one in thinking]
    if any(one is not None and one["unended"] for one in thinking):
        yield "thoughts without end", ["" if one is None else f"{one['unended']:.1%}" for one in thinking]


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
    """lm-eval's results for some models: "task metric" and its value for each of them, None where it has none.

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
