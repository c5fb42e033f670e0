"""What `synth ssr` does: have inputs written, choose among them, have those answered."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from cli.cast import Casting, engine_settings, tasks_of
from cli.generate import Job, Session, generate
from cli.progress import say
from synth.curation.embeddings import check_embedder, open_embedder, state_embedder
from synth.data.read import open_source
from synth.data.row import BASE, digest
from synth.data.run.record import read_record
from synth.engines.base import Sampling
from synth.engines.hf.engine import TransformersEngine
from synth.engines.loading import load_tokenizer
from synth.errors import RunError, UsageError
from synth.methods.magpie import magpie_key
from synth.methods.ssr import (
    COLUMNS,
    Chosen,
    SsrSettings,
    answers,
    by_representation,
    chosen_rows,
    input_rows,
    inputs,
    kept_examples,
)

CANDIDATES = 5
"""Inputs written for each row wanted, about as many as in the paper."""


def rehearse(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: the examples or the settings cannot be used; no model was loaded.
        RunError: too few inputs or answers can be used, or the run broke off; what was finished is kept.
    """
    wanted: int = given["rows"]
    candidates: int = given["candidates"] or CANDIDATES * wanted
    if candidates < wanted:
        raise UsageError(f"--candidates {candidates}: there must be at least as many as the {wanted} rows wanted")
    settings = SsrSettings(
        seed=given["seed"],
        clusters=given["clusters"],
        question=Sampling(max_tokens=given["question_tokens"], temperature=given["temperature"], top_p=given["top_p"]),
        answer=Sampling(max_tokens=given["max_tokens"], temperature=0.0),
    )
    tasks = tasks_of(given)
    examples = kept_examples(tasks.rows("ssr", {}, COLUMNS)(0))
    answerer = given if given["input_model"] is None else given | {"prefix": None, "stop": None}
    casting = Casting({"model": given["model"]}, answerer)
    casting.named()  # what cannot work is found before inputs are written
    check_embedder(given["embed"] or given["model"])
    with _inputs_folder(given["output"]) as folder, ExitStack() as stack:
        # One model writes and answers: it is opened once, and a model that embeds has room beside it.
        session = stack.enter_context(Session()) if given["input_model"] in (None, given["model"]) else None
        beside = 1 if session is not None and given["embed"] is None else 0
        writer = Casting(
            {"model": given["input_model"] or given["model"]}, given | {"output": str(folder)}, beside=beside
        )
        say(f"{len(examples)} examples; writing {candidates:,} inputs", given["quiet"])
        _write_inputs(
            Job(
                command="ssr-inputs",
                settings=settings.record() | {"input": tasks.fingerprint},
                method=lambda cast: inputs(cast.chat_model, examples, settings),
                rows=input_rows,
                target=candidates,
                key=magpie_key,
            ),
            writer,
            session,
            wanted,
        )
        chosen = _choose(folder, given, settings, session)
        name = digest([one.name for one in chosen])
        record = generate(
            Job(
                command="ssr",
                settings=settings.record() | {"inputs": name, "embed": given["embed"]},
                method=lambda cast: answers(cast.chat_model, settings),
                rows=lambda recorded, _: chosen_rows(chosen, recorded),
                schema=pa.schema([*BASE, *COLUMNS]),
                target=wanted,
            ),
            replace(casting, beside=beside),
            session,
        )
    if record.accepted < wanted:
        raise RunError(
            f"all {candidates:,} inputs were answered, and {record.accepted:,} of the {wanted:,} rows wanted came out: "
            "give more --candidates"
        )


@contextmanager
def _inputs_folder(output: str | None) -> Iterator[Path]:
    """Where inputs are kept: beside the output, or for as long as rows go to standard output."""
    if output not in (None, "-"):
        yield Path(f"{output}.inputs")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "inputs"


def _write_inputs(job: Job, casting: Casting, session: Session | None, wanted: int) -> None:
    """Have inputs written; fewer than were to be are enough where rows can be chosen among them.

    Raises:
        RunError: there are fewer than the rows wanted.
        click.exceptions.Exit: status 1 where a person stopped it.
    """
    folder = Path(casting.given["output"])
    try:
        generate(job, casting, session)
    except click.exceptions.Exit:
        record = read_record(folder)
        if record is None or record.finished is None:
            raise
        if record.accepted < wanted:
            raise RunError(f"of the inputs only {record.accepted:,} can be used, {wanted:,} rows are wanted") from None


def _choose(folder: Path, given: dict[str, Any], settings: SsrSettings, session: Session | None) -> list[Chosen]:
    """The inputs, those first that represent the others best."""
    rows = [
        record
        for batch in open_source(str(folder)).batches()
        for record in batch.select(["id", "messages"]).to_pylist()
    ]
    engine = session.engines.found.get(given["model"]) if session is not None and given["embed"] is None else None
    if isinstance(engine, TransformersEngine):  # the model is here already
        embed = state_embedder(engine.model, load_tokenizer(given["model"]), engine.max_length)
    else:
        embed = open_embedder(given["embed"] or given["model"], engine_settings(given))
    chosen = by_representation(rows, embed, settings)
    groups = len({one.cluster for one in chosen})
    say(f"{len(chosen):,} inputs in {groups} groups; answering {given['rows']:,} that represent them", given["quiet"])
    return chosen
