"""`majority`: what most samples say."""

from filters.verdict import Task, Verdict, VerifierSettings
from filters.verifiers.majority import vote
from filters.verifiers.registry import checker


def kinds(*answers: str | None) -> list[str]:
    return [verdict.kind for verdict in vote([Verdict("unscorable", answer) for answer in answers])]


def test_the_most_frequent_answer_is_right() -> None:
    assert kinds("5", "6", "5") == ["right", "wrong", "right"]
    assert kinds("1,000", "1000", "7", None) == ["right", "right", "wrong", "wrong"]
    assert kinds("Paris", "paris.", "Rome") == ["right", "right", "wrong"]


def test_without_a_majority_nothing_can_be_said() -> None:
    assert kinds("5", "6") == ["unscorable"] * 2
    assert kinds("5", "5", "6", "6") == ["unscorable"] * 4
    assert kinds(None, None) == ["unscorable"] * 2
    assert kinds("5") == ["unscorable"]
    assert kinds() == []


def test_answers_are_extracted() -> None:
    check = checker(VerifierSettings("majority"))
    assert check(r"so \boxed{5}", Task()).answer == "5"
    assert check("who knows", Task()).answer is None
