"""Reads the rows of a training, as tokens of the model that is trained."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from synth.chat.derive import format_for, format_for_texts
from synth.chat.format import ChatFormat
from synth.data.columns import lists_of
from synth.data.files.memory import temporary
from synth.data.files.names import short_name
from synth.data.pairs import has_pairs, pairs
from synth.data.plain import TEXT, has_texts, only_texts, rows_or_texts
from synth.data.prompts import open_prompts
from synth.data.read import Rows, conversations, open_source
from synth.data.row import digest
from synth.engines.loading import load_config, load_tokenizer, window_of
from synth.errors import UsageError
from synth.methods.drawing import Drawing
from synth.progress import Progress
from synth.scoring.encoding import RowEncoder
from synth.training.fresh import FRESH
from synth.training.method import MethodSettings
from synth.training.method_rows import read_pairs, read_prompts
from synth.training.replay import join_fresh, join_replay, split_replay
from synth.training.rewarding import try_reward
from synth.training.rows import TrainingRows, read_training_rows
from synth.training.settings import RowSettings, TrainingSettings


@dataclass(frozen=True, slots=True)
class TrainingInput:
    """The rows of a training.

    Attributes:
        rows: as tokens with labels, those of the task and then those of replay, where that is an objective of its own.
        chat: the model's tokenizer and chat template, as they were read with.
        source: where they come from.
        fingerprint: of what they hold.
        replay_name: what the rows of replay are called, where there are any.
        replay_fingerprint: of what they hold, where they are a set apart.
    """

    rows: TrainingRows
    chat: ChatFormat
    source: str
    fingerprint: str
    replay_name: str | None = None
    replay_fingerprint: str | None = None


def read_input(
    source: str,
    model: str,
    settings: RowSettings,
    tokens_per_batch: int,
    progress: Progress,
    *,
    method: MethodSettings | None = None,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: int | None = None,
    every_of: Collection[str] = (),
) -> TrainingInput:
    """Read the rows to train a model on.

    Args:
        source: a dataset directory, a file, a Hub id or "-".
        model: a directory or a Hub id.
        settings: how rows become tokens.
        tokens_per_batch: what a row has to fit into, as it has to fit into the window.
        progress: is told of columns that were guessed, and of the like.
        method: how it is trained, where it is none of the losses over tokens.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows to take.
        every_of: sources of rows that are replay, with a loss on every token, whatever is trained on.

    Raises:
        UsageError: there is no such source or model, the rows are not of this model's tokens or not what the method
            takes, or none can be trained.
    """
    if method is not None:
        if reference_column is not None and not method.reward:
            raise UsageError(f"`reference_column` does not go with `method` {method.method}")
        columns = {"prompt_column": prompt_column, "reference_column": reference_column}
        return _method_input(source, model, method, settings, tokens_per_batch, progress, columns, limit)
    return _read(
        open_source(source),
        model,
        settings,
        tokens_per_batch,
        progress,
        prompt_column=prompt_column,
        reference_column=reference_column,
        limit=limit,
        every_of=every_of,
    )


def with_replay(
    task: TrainingInput,
    source: str | None,
    model: str,
    rows: RowSettings,
    settings: TrainingSettings,
    progress: Progress,
    drawing: Drawing | None = None,
    processes: int = 1,
    *,
    prompt_column: str | None = None,
    reference_column: str | None = None,
) -> TrainingInput:
    """The rows of a training with those of replay after the task's, where it is an objective of its own.

    Args:
        task: what was read, with replay among it where `settings.replay` names its sources.
        source: else the replay set, of any form that the task may have. It is read as the task is; columns that are
            named for the task are taken where it has them, too.
        model: whose tokens they are.
        rows: how rows become tokens.
        settings: what `replay` is.
        progress: is told of columns that were guessed, and of the like.
        drawing: what is drawn meanwhile, where that is the replay.
        processes: how many take part.
        prompt_column: as for `read_input`, where the set has it.
        reference_column: likewise.

    Raises:
        UsageError: as for `read_input`, or there are no rows of a source of replay, or none of the task's.
    """
    replay = settings.replay
    if replay is None:
        return task
    if drawing is not None:
        joined = join_fresh(task.rows, drawing, settings, processes)
        return replace(task, rows=joined, replay_name=FRESH, replay_fingerprint=digest(drawing.recorded))
    if source is None:
        return replace(task, rows=split_replay(task.rows, replay.sources), replay_name=", ".join(replay.sources))
    raw = open_source(source)
    columns = raw.schema.names
    if rows.text_column not in columns:
        rows = replace(rows, text_column=None)
    if replay.every and "input_ids" in columns and "labels" not in columns:
        rows = replace(rows, train_on="all")
    longest = max(settings.tokens_per_batch, replay.tokens_per_batch)
    found = _read(
        raw,
        model,
        rows,
        longest,
        progress,
        prompt_column=prompt_column if prompt_column in columns else None,
        reference_column=reference_column if reference_column in columns else None,
        unnamed="replay row",
        every=replay.every,
    )
    name = "replay" if temporary(source) else short_name(source)
    joined = join_replay(task.rows, found.rows, name)
    return replace(task, rows=joined, replay_name=name, replay_fingerprint=found.fingerprint)


def _read(
    raw: Rows,
    model: str,
    settings: RowSettings,
    tokens_per_batch: int,
    progress: Progress,
    *,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: int | None = None,
    unnamed: str = "row",
    every: bool = False,
    every_of: Collection[str] = (),
) -> TrainingInput:
    opened = _opened(raw, settings, prompt_column, reference_column)
    prompts = open_prompts(opened, limit)
    plain = settings.text_column is not None or not _has_conversations(opened)
    chat_format = format_for_texts if plain else format_for
    chat = chat_format(model, prefix=settings.prefix, stop=settings.stop)
    config = load_config(model)
    window = _window(config, settings.max_length, tokens_per_batch)
    rows = read_training_rows(
        opened,
        RowEncoder(chat, settings.train_on, (), settings.overlong, window, every),
        # Token ids the model knows: the rows of its embedding, of which the tokenizer may use fewer.
        getattr(config.get_text_config(), "vocab_size", len(chat.tokenizer)),
        text_column=settings.text_column or (TEXT if has_texts(opened.schema) else None),
        only_texts=plain,
        limit=limit,
        unnamed=unnamed,
        every_of=every_of,
    )
    for note in opened.notes:
        progress.say(note)
    return TrainingInput(rows, chat, opened.source, prompts.fingerprint)


def _method_input(
    source: str,
    model: str,
    method: MethodSettings,
    settings: RowSettings,
    tokens_per_batch: int,
    progress: Progress,
    columns: dict[str, str | None],
    limit: int | None,
) -> TrainingInput:
    """The pairs or the prompts that a method trains a model on."""
    raw = open_source(source)
    if method.prefers and not has_pairs(raw.schema):
        raise UsageError(
            f"`method` {method.method} takes preference pairs, and {raw.source} has no columns `chosen` and "
            "`rejected`: `synth self-output --pairs` leaves such rows in DIR/pairs"
        )
    opened = pairs(raw, prompt_column=columns["prompt_column"]) if method.prefers else conversations(raw, **columns)
    prompts = open_prompts(opened, limit)
    chat = format_for(model, prefix=settings.prefix, stop=settings.stop)
    config = load_config(model)
    if method.teacher is not None:
        _check_teacher(method.teacher, model, chat)
    vocabulary = getattr(config.get_text_config(), "vocab_size", len(chat.tokenizer))
    room = tokens_per_batch // 2 if method.prefers else tokens_per_batch  # for each side of a pair
    encoder = RowEncoder(chat, "last", window=_window(config, settings.max_length, room))
    if method.prefers:
        rows: TrainingRows = read_pairs(opened, encoder, vocabulary, limit)
    else:
        drawn = method.generations or 1
        rows = asking = read_prompts(opened, encoder, vocabulary, method.max_tokens or 0, limit, drawn=drawn)
        if method.rewarding is not None and (tried := try_reward(method.rewarding, asking.asked)):
            progress.say(tried)
    for note in opened.notes:
        progress.say(note)
    return TrainingInput(rows, chat, opened.source, prompts.fingerprint)


def _check_teacher(teacher: str, model: str, chat: ChatFormat) -> None:
    """Refuse a teacher with other tokens: distributions over them cannot be compared."""
    sizes = [getattr(load_config(name).get_text_config(), "vocab_size", None) for name in (teacher, model)]
    if sizes[0] != sizes[1] or load_tokenizer(teacher).get_vocab() != chat.tokenizer.get_vocab():
        raise UsageError(f"`teacher` {teacher} has other tokens than {model}: take a model of the same family")


def _opened(raw: Rows, settings: RowSettings, prompt_column: str | None, reference_column: str | None) -> Rows:
    """The rows, brought to `messages` where they are neither tokens nor a column of plain texts that was named."""
    if settings.text_column is not None:
        return raw
    if "input_ids" in raw.schema.names:
        if settings.train_on == "all" or "labels" in raw.schema.names:
            return raw
        raise UsageError(
            f"{raw.source} holds tokens (input_ids) without labels, so it is unknown which the assistant wrote: "
            "`train_on` all trains on every token; or add labels (synth score-tokens), or leave input_ids out"
        )
    if has_pairs(raw.schema) and "messages" not in raw.schema.names and reference_column is None:
        raise UsageError(
            f"{raw.source} holds preference pairs (`chosen`, `rejected`): `method` dpo, ipo or simpo learns from these"
        )
    return rows_or_texts(raw, prompt_column=prompt_column, reference_column=reference_column)


def _has_conversations(rows: Rows) -> bool:
    """Whether some rows are conversations, for which a chat template is needed, if only to check their tokens with."""
    if "messages" not in rows.schema.names:
        return False
    return not lists_of(rows.schema.field("messages").type, pa.types.is_struct) or not only_texts(rows)


def _window(config: Any, max_length: int | None, tokens_per_batch: int) -> int:
    """Tokens a row may have: what the model, a batch and the user allow."""
    longest = window_of(config) or sys.maxsize
    if max_length is not None and max_length > longest:
        raise UsageError(f"`max_length` {max_length:,}: the model's window holds {longest:,} tokens")
    return int(min(longest, tokens_per_batch, max_length or sys.maxsize))


def require_sources(rows: TrainingRows, wanted: Sequence[str]) -> None:
    """Check that there are rows of the task of the sources that the KL divergence is computed on.

    Raises:
        UsageError: there are none of one of them.
    """
    there = sorted(set(rows.sources[: rows.tasks]) - {""})
    if missing := sorted(set(wanted) - set(rows.sources[: rows.tasks])):
        raise UsageError(
            f"`kl_sources` {missing[0]}: no row is of that source; there are: "
            f"{', '.join(there) or 'none (see synth mix)'}"
        )
