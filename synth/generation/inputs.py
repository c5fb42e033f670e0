"""The input of generating commands: the prompt set, and the verifier that its rows may name."""

from dataclasses import replace

import pyarrow as pa

from filters.verdict import OwnCheck, VerifierError, VerifierSettings
from filters.verifiers import registry
from synth.data.plain import open_rows_or_texts
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import Rows, open_rows, open_source
from synth.data.row import BASE
from synth.data.schema.turns import holds_text
from synth.data.store.path import path_at
from synth.errors import UsageError
from synth.generation.documents import Cut, open_documents
from synth.progress import Progress
from synth.small_text import read_small
from synth.values import Mebibytes, Seconds, checked

NO_VERIFIER = "none"
"""What is given as the verifier where answers are to be taken unverified."""


def read_prompts(
    source: str,
    progress: Progress,
    *,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: int | None = None,
    texts: bool = False,
) -> PromptSet:
    """The rows of a source, read once; `progress` is told what was recognised.

    Args:
        source: a dataset directory, a file, a folder or pattern of files, a Hub id, or "-" for standard input.
        progress: is told what was recognised.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows to take.
        texts: whether plain texts are taken, too.

    Raises:
        UsageError: they cannot be read, or there are none.
    """
    opener = open_rows_or_texts if texts else open_rows
    rows = opener(source, prompt_column=prompt_column, reference_column=reference_column)
    return prompts_of(rows, progress, limit)


def read_passages(
    source: str,
    progress: Progress,
    added: pa.Schema,
    cut: Cut,
    *,
    text_column: str = "text",
    limit: int | None = None,
) -> PromptSet:
    """The documents of a source, as `cut` divides them, read once.

    Args:
        source: as for `read_prompts`.
        progress: is told how many passages there are.
        added: the columns of the rows that `cut` makes.
        cut: divides a document.
        text_column: the column with the texts.
        limit: documents to take.

    Raises:
        UsageError: they cannot be read, there are none, or there is no text in that column.
    """
    raw = open_source(source)
    few = Rows(raw.source, raw.schema, lambda: raw.judged(limit), raw.notes)
    prompts = prompts_of(open_documents(few, text_column, added, cut), progress)
    progress.say(f"{prompts.total:,} passages to work on, of {raw.source}")
    return prompts


def read_text_column(source: str, column: str, progress: Progress, limit: int | None = None) -> PromptSet:
    """The rows of a source whose plain texts are in a column of the user's; read once.

    Raises:
        UsageError: they cannot be read, there are none, or there is no such column of texts.
    """
    rows = open_source(source)
    if column not in rows.schema.names:
        there = ", ".join(rows.schema.names) or "none"
        raise UsageError(f"{rows.source} has no column {column!r}; there are: {there}")
    if column in BASE.names or not holds_text(rows.schema.field(column).type):
        raise UsageError(f"column {column!r} of {rows.source} holds no plain texts")
    return prompts_of(rows, progress, limit)


def prompts_of(rows: Rows, progress: Progress, limit: int | None = None) -> PromptSet:
    """Rows as prompts, read once; `progress` is told their notes.

    Raises:
        UsageError: they cannot be read, or there are none.
    """
    prompts = open_prompts(rows, limit)
    for note in rows.notes:
        progress.say(note)
    if not prompts.total:
        raise UsageError(f"{rows.source} has no rows")
    return prompts


def need_references(prompts: PromptSet, why: str) -> None:
    """Refuse rows without a single human answer.

    Args:
        prompts: the rows.
        why: what they are needed for.

    Raises:
        UsageError: there is none.
    """
    if not any(task.reference for task in prompts.tasks()):
        raise UsageError(
            f"{prompts.source.source} has no human answers, and {why}; if a column holds them, name it: "
            "`reference_column`"
        )


@checked
def verifier_of(
    name: str | OwnCheck | None,
    *,
    time_limit: Seconds = 10.0,
    memory_limit: Mebibytes = 1024,
    language: str | None = None,
    schema: str | None = None,
    pattern: str | None = None,
    unsafe_no_sandbox: bool = False,
) -> VerifierSettings:
    """A verifier by name, or a user's own as module:function.

    Args:
        name: of `filters.verifiers.registry`, module:function, or a function; "none", for what takes answers
            unverified; None is whichever the rows name.
        time_limit: seconds for one check.
        memory_limit: MiB for a program.
        language: for compile, instead of what the answer's fence says.
        schema: for json: the file of a JSON Schema.
        pattern: for regex, instead of the row's reference.
        unsafe_no_sandbox: run programs of models without isolation.

    Raises:
        UsageError: there is no such verifier, or its schema cannot be read.
    """
    function = None
    if callable(name):
        function, name = name, f"{name.__module__}:{getattr(name, '__qualname__', type(name).__qualname__)}"
    if name not in (None, NO_VERIFIER):
        _check_name(name)
    text = None
    if schema is not None:
        try:
            text = read_small(path_at(schema))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"`schema` {schema} cannot be read: {error}") from error
    return VerifierSettings(name or "", time_limit, memory_limit, language, text, pattern, unsafe_no_sandbox, function)


def verifier_for(
    prompts: PromptSet | None,
    verifier: VerifierSettings | None,
    *,
    required: bool = True,
    unverified: bool = False,
) -> VerifierSettings | None:
    """The verifier given, or else the one that all rows name; None as `prompts` are rows made from nothing.

    One that compares samples, or asks a model, has to be given. `NO_VERIFIER` is None where answers may be taken
    `unverified`.

    Raises:
        UsageError: a verifier is `required`, and there is none; or it is `NO_VERIFIER` where that makes no sense.
    """
    limits = verifier or VerifierSettings("")
    if limits.name == NO_VERIFIER and unverified:
        return None
    if limits.name:
        _check_name(limits.name)
        return limits
    if prompts is None:
        return None
    name = prompts.named_verifier()
    if name is not None and name in registry.VERIFIERS and registry.VERIFIERS[name].judges_single_answers:
        return replace(limits, name=name)
    if required:
        raise UsageError(
            f"`verifier` is missing: {prompts.source.source} does not name one verifier for all its rows; take "
            f"{registry.known()}"
        )
    return None


def _check_name(name: str) -> None:
    if name == NO_VERIFIER:
        raise UsageError(f"`verifier` {name} judges nothing: only self-output and iterate take answers unverified")
    try:
        registry.entry_of(name)
    except VerifierError as error:
        raise UsageError(f"`verifier` {name}: {error}") from error
