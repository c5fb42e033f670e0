"""Measures of completions, by what they say of real ones."""

import multiprocessing
from typing import Any

import pytest

from filters.verdict import Task
from synth.errors import RunError, UsageError
from synth.rl.batch import Batch, Values
from synth.rl.completions import read_completion
from synth.rl.measures import read_measure

LOOP = "The answer is that the answer is that " * 30
GERMAN = "Ich habe die Aufgabe gelesen, und ich glaube, dass die richtige Antwort sieben ist."
ENGLISH = "I have read the task, and I believe that the right answer is seven, as the others are too large."


def measured(text: str, completions: list[str], ids: list[list[int]] | None = None) -> Values:
    read = [read_completion("", completion) for completion in completions]
    return read_measure(text).values(Batch([""] * len(read), read, ids, [Task()] * len(read)))


def test_length() -> None:
    ids = [list(range(count)) for count in (0, 100, 200, 300, 1000)]
    texts = [""] * len(ids)
    assert measured("length:target=200", texts, ids) == [-1.0, -0.5, 0.0, -0.5, -1.0]
    assert measured("length:max=200", texts, ids) == [0.0, 0.0, 0.0, -0.5, -1.0]
    assert measured("length", texts, ids) == [0.0, 100.0, 200.0, 300.0, 1000.0]
    assert measured("length:max=4,unit=characters", ["four", "sixsix"]) == [0.0, -0.5]
    assert measured("length:2,unit=words", ["two words", "one"]) == [0.0, -0.5]
    with pytest.raises(UsageError, match="there are no `completion_ids`"):
        measured("length:max=4", ["four"])


def test_language() -> None:
    assert measured("language:en", [ENGLISH, GERMAN, "7", "", "\ud800" + ENGLISH]) == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert measured("language:en,de", [ENGLISH, GERMAN]) == [1.0, 1.0]


def test_repetition() -> None:
    none, some, empty, half = measured("repetition", [ENGLISH, LOOP, "", "\udfff"])
    assert none == empty == half == 0.0
    assert some is not None and some < -0.9
    assert measured("repetition", []) == []


def _in_a_fork(pipe: Any) -> None:
    try:
        pipe.send(measured("repetition", [LOOP]))
    except RunError as error:
        pipe.send(str(error))


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_that_could_not_end_is_refused() -> None:
    assert measured("repetition", [ENGLISH]) == [0.0]
    here, there = multiprocessing.Pipe()
    fork = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=[there])
    fork.start()
    assert here.poll(60) and "start the process by spawn" in here.recv()
    fork.join(60)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("length:target=2,max=3", "a target or a maximum"),
        ("length:max=0", "at least 1"),
        ("length:unit=pages", "unit is one of tokens, characters, words"),
        ("length:limit=3", "no setting limit"),
        ("language", "name the languages"),
        ("language:xx", "no such language: xx"),
        ("repetition:n=0", "at least one word"),
    ],
)
def test_settings_that_cannot_be(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=f"`rewards` {text}.*{fault}"):
        read_measure(text)
