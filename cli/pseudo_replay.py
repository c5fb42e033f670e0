"""What `synth lamol` does: prepare a task's data, or sample examples of old tasks."""

import math
import shlex
from typing import Any

import pyarrow as pa

from cli.cast import Casting, tasks_of
from cli.generate import Job, generate
from cli.progress import say
from synth.data.read import open_source
from synth.data.row import BASE, digest
from synth.engines.base import Sampling
from synth.engines.loading import load_tokenizer
from synth.errors import UsageError
from synth.generation.runner import Quota
from synth.methods.lamol import (
    COLUMNS,
    GENERATION,
    PREPARED,
    TOKEN,
    LamolSettings,
    answered_rows,
    before_answer,
    before_question,
    lamol,
    lamol_rows,
    preparing,
)
from synth.methods.magpie import magpie_key

_KEPT = ("id", "method", "parent")
"""Columns of ours that prepared rows have; `messages` would be taken for the chat template's."""


def prepare(given: dict[str, Any]) -> None:
    """Write a task's data as tokens with labels.

    Raises:
        UsageError: the data or the settings cannot be used.
    """
    if given["rows"] is not None or given["new_data"] is not None:
        raise UsageError("-n and --of say how many rows to sample; --prepare takes all rows of its data")
    if given["output"] in (None, "-"):
        raise UsageError("--prepare needs a place for its rows: -o DIR, or -o FILE")
    settings = _settings(given)
    tokenizer = load_tokenizer(given["model"])
    method = preparing(tokenizer, settings)
    tasks = tasks_of(given | {"source": given["prepare"]})
    decides = {"tokens": settings.tokens, "answer_token": settings.answer_token, "tokenizer": _fingerprint(tokenizer)}
    generate(
        Job(
            command="lamol",
            settings=decides | {"input": tasks.fingerprint},
            method=lambda _: method,
            rows=lambda recorded, _: answered_rows(tasks, recorded),
            schema=_without_turns(tasks.schema(PREPARED)),
            tasks=tasks,
        ),
        Casting({}, given),
    )
    words = ["synth", "train", given["output"], "--model", given["model"], "--lm-loss", "0.25"]
    if not tokenizer.chat_template:  # then training and asking need to be told how a question is put
        words += ["--prefix", before_question(settings.tokens[0]), "--stop", before_answer(settings.answer_token)]
    say(f"next: {' '.join(map(_quoted, words))} -o MODEL", given["quiet"])


def sample(given: dict[str, Any]) -> None:
    """Let the model write examples.

    Raises:
        UsageError: the settings cannot be used; no model was loaded.
        RunError: the run broke off; what was finished is kept.
    """
    settings = _settings(given)
    wanted = _wanted(given)
    asked = {"prefix": before_question(settings.tokens[0]), "stop": before_answer(settings.answer_token)}
    generate(
        Job(
            command="lamol",
            settings=settings.record(),
            method=lambda cast: lamol(cast.chat_model.engine, cast.chat_model.chat.tokenizer, settings),
            rows=lamol_rows(settings.tokens),
            schema=pa.schema([*BASE, *COLUMNS]),
            target=wanted,
            key=magpie_key,
            kinds=Quota(TOKEN, settings.tokens),
        ),
        Casting({"model": given["model"]}, given | asked),
    )


def _settings(given: dict[str, Any]) -> LamolSettings:
    return LamolSettings(
        seed=given["seed"],
        tokens=given["tokens"] or (GENERATION,),
        answer_token=given["answer_token"],
        sampling=Sampling(
            max_tokens=given["max_tokens"], temperature=given["temperature"], top_k=given["top_k"] or None
        ),
    )


def _wanted(given: dict[str, Any]) -> int:
    """Rows to sample: so many, or a share of the new task's."""
    wanted: int | None = given["rows"]
    if (wanted is None) == (given["new_data"] is None):
        raise UsageError("say how many rows: -n ROWS, or --gamma SHARE --of NEW_DATA")
    if wanted is not None:
        return wanted
    if not given["gamma"] > 0:
        raise UsageError(f"--gamma is a share above 0, not {given['gamma']}")
    size: int = sum(batch.num_rows for batch in open_source(given["new_data"]).batches())
    if not size:
        raise UsageError(f"{given['new_data']} has no rows")
    gamma: float = given["gamma"]
    return math.ceil(gamma * size)


def _without_turns(schema: pa.Schema) -> pa.Schema:
    """The schema without the columns of conversations."""
    return pa.schema([item for item in schema if item.name in _KEPT or item.name not in BASE.names])


def _fingerprint(tokenizer: Any) -> str:
    """Names what makes the tokens."""
    return digest(sorted(tokenizer.get_vocab().items()))


def _quoted(word: str) -> str:
    """A word as a shell reads it, line ends written out."""
    plain = "\n" not in word and "'" not in word
    return (
        shlex.quote(word) if plain else "$'" + word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
    )
