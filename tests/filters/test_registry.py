"""Verifiers by name, and functions of a user's own."""

import importlib
import sys
from pathlib import Path

import pytest

from filters.verdict import Task, Verdict, VerifierError, VerifierSettings
from filters.verifiers.registry import VERIFIERS, checker, entry_of, gold, vote

OWN = """
from filters.verdict import Verdict

def two(response, reference): return response == reference
def three(response, reference, row): return "right" if row["wanted"] == response else "unscorable"
def optional_row(response, reference, row=None): return row["wanted"] == response
def optional_other(response, reference, strict=False): return strict is False
def anything(*args, **kwargs): return len(args) == 2
def verdict(response, reference): return Verdict("wrong", "7", "why")
def strange(response, reference): return "maybe"
def no_kind(response, reference): return Verdict("maybe")
class Checker:
    def __call__(self, response, reference): return True
instance = Checker()

def one(response): return True
def keyword(response, reference, *, needed): return True
async def later(response, reference): return True
number = 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_checks.py").write_text(OWN)
    (tmp_path / "own_script.py").write_text("raise SystemExit(2)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)
    return "own_checks"


HERE = sorted(name for name, entry in VERIFIERS.items() if not entry.asks_model and not entry.sandboxed)


@pytest.mark.parametrize("name", HERE)
def test_every_name_is_a_verifier(name: str) -> None:
    assert checker(VerifierSettings(name, pattern="x"))("x", Task()).kind in ("right", "wrong", "unscorable")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("two", "wrong"),
        ("three", "right"),
        ("optional_row", "right"),
        ("optional_other", "right"),
        ("anything", "right"),
        ("verdict", "wrong"),
        ("instance", "right"),
    ],
)
def test_functions_of_a_users_own(own: str, name: str, kind: str) -> None:
    check = checker(VerifierSettings(f"{own}:{name}"))
    assert check("a", Task("b", columns={"wanted": "a"})).kind == kind


def test_a_users_verdict_is_kept_as_it_is(own: str) -> None:
    found = checker(VerifierSettings(f"{own}:verdict"))("a", Task("b"))
    assert (found.kind, found.answer, found.reason) == ("wrong", "7", "why")


@pytest.mark.parametrize("name", ["strange", "no_kind"])
def test_what_is_no_verdict_is_an_error(own: str, name: str) -> None:
    with pytest.raises(TypeError, match=r"maybe.*return a Verdict, True or False, or one of right, wrong, unscorable"):
        checker(VerifierSettings(f"{own}:{name}"))("a", Task("b"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mth", "did you mean math"),
        ("zzz", "there are math, number"),
        ("own_checks:tow", "did you mean two"),
        ("own_chekcs:two", "did you mean own_checks"),
        ("own_checks:nothing", "cannot be imported: AttributeError"),
        ("own_checks:one", r"one\(response\) cannot be called with \(response, reference\)"),
        ("own_checks:keyword", "cannot be called with"),
        ("own_checks:later", "is no plain function"),
        ("own_checks:number", "is not a function: it cannot be called"),
        ("own_script:check", "cannot be imported: SystemExit"),
        ("no_such_module:check", "cannot be imported: ModuleNotFoundError"),
        (":check", "cannot be imported"),
    ],
)
def test_what_cannot_work_is_told_at_once(own: str, name: str, message: str) -> None:
    with pytest.raises(VerifierError, match=message):
        checker(VerifierSettings(name))


def test_gold_is_the_reference_unless_the_verifier_knows_better(own: str) -> None:
    task = Task("the reference")
    assert gold(VerifierSettings("math"), task) == gold(VerifierSettings(f"{own}:two"), task) == "the reference"
    assert gold(VerifierSettings("majority"), task) is None
    assert (
        gold(VerifierSettings("function-call"), Task('[{"f": {"a": [1, 2]}}]'))
        == '[{"name": "f", "arguments": {"a": 1}}]'
    )


def test_samples_are_compared_by_the_verifier_that_votes_alone() -> None:
    verdicts = [Verdict("unscorable", answer) for answer in "aab"]
    assert [one.kind for one in vote(VerifierSettings("majority"), verdicts)] == ["right", "right", "wrong"]
    assert vote(VerifierSettings("math"), verdicts) == vote(VerifierSettings("own:check"), verdicts) == verdicts


def test_what_verifiers_can_do_holds_of_their_modules() -> None:
    """A flag that is not so would be found out in the middle of a run."""
    for name, entry in VERIFIERS.items():
        if entry.asks_model:
            continue
        module = importlib.import_module(f"filters.verifiers.{name.replace('-', '_')}")
        assert hasattr(module, "vote") == entry.votes, name
        assert hasattr(module, "gold") == (entry.gold == "own"), name
        verdict = None if entry.sandboxed else checker(VerifierSettings(name))("7", Task())
        if entry.needs_reference:
            assert verdict is not None and verdict.kind == "unscorable", name
    assert entry_of("own:check").judges_single_answers and not VERIFIERS["majority"].judges_single_answers
