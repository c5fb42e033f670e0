"""Rewards of conversations by a reward model (a sequence classifier with one output).

Any such model of transformers does, with its own chat template. Rows are taken in blocks, written whole: an interrupted
run goes on at the next block, so that the same rows share a forward pass and round alike.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from synth.chat.template import Template
from synth.data.prompts import PromptSet
from synth.data.read import faults_of
from synth.data.row import REASON, Message, conversations_of
from synth.engines.base import EngineOptions
from synth.engines.length_batches import LengthBatches
from synth.errors import RequestError, RunError, UsageError

COLUMNS = pa.schema([("reward", pa.float64()), ("reward_fault", pa.string())])
"""`reward` as the model gives it (a log-odds of being preferred, for most); null with the reason beside it."""

BLOCK_ROWS = 256
BATCH_TOKENS = 16_384
"""Tokens of one forward pass, padding included, at most (a longer conversation goes alone)."""


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A reward model, loaded.

    Attributes:
        model: the classifier, in eval mode.
        template: its chat template.
        window: most tokens of a conversation; None where the model names no limit.
    """

    model: Any
    template: Template
    window: int | None

    @property
    def description(self) -> str:
        """One line for people."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"transformers, {type(self.model).__name__} on {self.model.device}, {dtype}"

    def encode(self, messages: Sequence[Message], tools: str | None = None) -> list[int]:
        """A conversation's token ids: what was said and called, without thoughts, of which reward models see none.

        Args:
            messages: the conversation.
            tools: the functions on offer, as JSON text; a template that does not take them does not show them.

        Raises:
            ValueError: the row does not end in an answer, the template refuses it or leaves out its calls, or it is too
                long.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError("the last turn is not the assistant's")
        turns = [_said(turn) for turn in messages]
        template = self.template.with_variables({"tools": json.loads(tools)}) if tools else self.template
        try:
            ids = template.token_ids(template.render(turns))
        except RequestError as error:
            raise ValueError(str(error)) from error
        if not ids:
            raise ValueError("the conversation is empty")
        if self.window is not None and len(ids) > self.window:
            raise ValueError(f"{len(ids)} tokens; the model's window holds {self.window}")
        return ids

    def rewards(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """The reward of each sequence of token ids, in the order given.

        Raises:
            RunError: one sequence does not fit in memory, or the model gives no numbers.
        """
        batches = LengthBatches(BATCH_TOKENS)
        rewards = batches.run(
            [len(ids) for ids in sequences], lambda batch: self._forward([sequences[index] for index in batch])
        )
        if not np.isfinite(rewards).all():
            raise RunError("the reward model is broken: its outputs are not numbers (NaN)")
        return rewards

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float]:
        import torch

        longest = max(map(len, batch))
        pad = self.model.config.pad_token_id
        ids = torch.full((len(batch), longest), pad, dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        device = self.model.device
        with torch.inference_mode():
            logits = self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        rewards: list[float] = logits[:, 0].double().tolist()
        return rewards


def open_reward_model(name: str, options: EngineOptions) -> RewardModel:
    """Load a reward model.

    Args:
        name: a directory or an id on the Hub.
        options: `dtype`, `device` and `max_length` (tokens; longer rows get no reward) are read here.

    Raises:
        UsageError: there is no such model, it has not one output, or its tokenizer has no chat template that ends.
    """
    from synth.engines.device import pick_device, pick_dtype
    from synth.engines.loading import load_classifier, load_config, load_tokenizer, window_of

    tokenizer, config = load_tokenizer(name), load_config(name)
    if not any("SequenceClassification" in kind for kind in config.architectures or ()):
        made = ", ".join(config.architectures or ["nothing named"])
        raise UsageError(f"{name} is no reward model: it is a {made}, not a sequence classifier")
    if config.num_labels != 1:
        raise UsageError(f"{name} is no reward model: it has {config.num_labels} outputs, not one")
    if not tokenizer.chat_template:
        raise UsageError(f"{name} has no chat template, so that conversations cannot be written as it expects them")
    template = Template(tokenizer)
    try:
        template.refuse_endless()
    except RequestError as error:
        raise UsageError(f"{name}: {error}") from error
    device = pick_device(options.device)
    model = load_classifier(name, pick_dtype(options.dtype, device)).to(device)
    if model.config.pad_token_id is None:  # decoders use it to find the last token of a row
        model.config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    limits = [limit for limit in (window_of(config), options.max_length) if limit is not None]
    return RewardModel(model, template, min(limits, default=None))


def rewarded(model: RewardModel, prompts: PromptSet, start: int = 0) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The rows from index `start` on, block by block, and of each block those that cannot be read.

    Both have the columns of `prompts.schema(COLUMNS)`; what cannot be read has its reason, too, and no reward.

    Raises:
        RunError: see `RewardModel.rewards`.
    """
    schema = prompts.schema(COLUMNS)
    for source, batch in prompts.completed(COLUMNS, start):
        faults = pa.array(faults_of(source), pa.string())
        for begin in range(0, batch.num_rows, BLOCK_ROWS):
            block, why = batch.slice(begin, BLOCK_ROWS), faults.slice(begin, BLOCK_ROWS)
            unread = block.filter(why.is_valid())
            nothing = {item.name: pa.nulls(unread.num_rows, item.type) for item in COLUMNS}
            rejected = _with(unread, nothing, schema).append_column(REASON, why.drop_null())
            yield _rewarded_block(model, block.filter(why.is_null()), schema), rejected


def _rewarded_block(model: RewardModel, block: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    sequences: dict[int, list[int]] = {}
    faults: list[str | None] = [None] * block.num_rows
    tools = block["tools"].to_pylist() if "tools" in block.schema.names else [None] * block.num_rows
    for row, messages in enumerate(conversations_of(block["messages"])):
        try:
            sequences[row] = model.encode(messages or [], tools[row])
        except ValueError as error:
            faults[row] = str(error)
    rewards = dict(zip(sequences, model.rewards(list(sequences.values())), strict=True))
    added = {
        "reward": pa.array([rewards.get(row) for row in range(block.num_rows)], pa.float64()),
        "reward_fault": pa.array(faults, pa.string()),
    }
    return _with(block, added, schema)


def _said(turn: Message) -> Message:
    """A turn without its thoughts."""
    parts = {name: value for name, value in turn.items() if name != "reasoning_content"}
    return parts | {"role": turn["role"] or "", "content": turn["content"] or ""}


def _with(block: pa.RecordBatch, added: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """A batch with more columns, in the order of `schema`."""
    columns = [added[name] if name in added else block[name] for name in schema.names]
    return pa.record_batch(columns, schema=schema)
