"""The two runs of SSR and the selection between them: inputs are written, some are selected and answered."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from synth.curation.embeddings import Embedder, open_embedder, state_embedder
from synth.data.output import Output
from synth.data.read import open_source
from synth.data.row import BASE, digest, records_of
from synth.data.run.record import RunRecord, read_record
from synth.engines.loading import remote_code
from synth.errors import RunError
from synth.generation.acceptance import Rules
from synth.generation.models import Model
from synth.generation.pipeline import Job, generate
from synth.generation.roles import Roles
from synth.methods.ssr import (
    COLUMNS,
    Chosen,
    Example,
    SsrSettings,
    answers,
    by_representation,
    chosen_rows,
    input_rows,
    inputs,
)
from synth.progress import Progress


def write_inputs(
    examples: Sequence[Example],
    settings: SsrSettings,
    roles: Roles,
    output: Output,
    *,
    source: str,
    candidates: int,
    least: int,
    progress: Progress,
) -> None:
    """Have inputs written, or continue with that.

    Args:
        examples: what they are written after.
        settings: of the run.
        roles: who writes.
        output: a directory.
        source: the fingerprint of what the examples were taken from.
        candidates: inputs wanted.
        least: how many are enough where no more can be had.
        progress: is told how it goes.

    Raises:
        UsageError, RunError, Stopped: as for `generate`, but that fewer inputs than were wanted can be enough.
    """
    job = Job(
        command="ssr-inputs",
        settings=settings.record() | {"input": source},
        method=lambda roles: inputs(roles.chat_model, examples, settings),
        rows=input_rows,
        target=candidates,
        rules=Rules(unique=True),
        answers=False,
    )
    progress.say(f"{len(examples)} examples; writing {candidates:,} inputs")
    try:
        generate(job, roles, output, progress=progress)
    except RunError:
        record = read_record(Path(str(output.path)))
        if record is None or record.finished is None:
            raise
        if record.accepted < least:
            raise RunError(f"only {record.accepted:,} inputs can be used, {least:,} rows are wanted") from None


def choose_inputs(folder: str, model: Model, embed: str | None, settings: SsrSettings) -> list[Chosen]:
    """The written inputs, the most representative first.

    Args:
        folder: where they are.
        model: whose hidden states they are compared by, where `embed` names nothing else.
        embed: as for `open_embedder`.
        settings: of the run.

    Raises:
        UsageError: as for `open_embedder`.
        RunError: as for `mean_states`.
    """
    batches = open_source(folder).batches()
    rows = [row for batch in batches for row in records_of(batch.select(["id", "messages"]))]
    return by_representation(rows, _embedder(model, embed), settings)


def _embedder(model: Model, embed: str | None) -> Embedder:
    from synth.engines.hf.engine import TransformersEngine

    engine = model.running
    if embed is None and isinstance(engine, TransformersEngine):  # its weights are here already
        return state_embedder(engine.model, model.tokenizer, engine.max_length)
    with remote_code(allowed=model.trust_remote_code), remote_code(allowed=model.trust_remote_code):
        options = model.options if embed is None else replace(model.options, adapter=None)
        return open_embedder(embed or model.name, options)


def answer_inputs(
    chosen: Sequence[Chosen],
    settings: SsrSettings,
    roles: Roles,
    output: Output,
    *,
    embed: str | None,
    wanted: int,
    progress: Progress,
) -> RunRecord:
    """Have inputs answered in order until there are enough rows, or continue with that.

    Args:
        chosen: the inputs.
        settings: of the run.
        roles: who answers.
        output: where the rows go.
        embed: what the inputs were compared by, for the record.
        wanted: rows.
        progress: is told how it goes.

    Raises:
        UsageError, RunError, Stopped: as for `generate`.
        RunError: all inputs were answered, and there are too few rows.
    """
    groups = len({one.cluster for one in chosen})
    progress.say(f"{len(chosen):,} inputs in {groups} groups; answering {wanted:,} that represent them")
    job = Job(
        command="ssr",
        settings=settings.record() | {"inputs": digest([one.name for one in chosen]), "embed": embed},
        method=lambda roles: answers(roles.chat_model, settings),
        rows=lambda recorded, _: chosen_rows(chosen, recorded),
        schema=pa.schema([*BASE, *COLUMNS]),
        target=wanted,
    )
    record = generate(job, roles, output, progress=progress)
    if record.accepted < wanted:
        raise RunError(
            f"all {len(chosen):,} inputs were answered, and {record.accepted:,} of the {wanted:,} rows wanted came "
            "out: give more `candidates`"
        )
    return record
