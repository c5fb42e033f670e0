"""Context-free samples of the sample model, over real engines."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from synth.chat.format import ChatFormat
from synth.data.row import IGNORED, Outcome
from synth.engines.base import Completion, Engine, Sampling
from synth.engines.loading import load_causal_model
from synth.errors import UsageError
from synth.generation.chat_model import NOT_OPEN
from synth.methods.sample import SampleSettings, context_of, sample, sample_rows
from tests.conftest import MODEL
from tests.synth.tokenizers import small_tokenizer

BOS, END = 1, 2
SETTINGS = SampleSettings((BOS,), seed=5, length=48)


def outcomes(loop: Any, engine: Engine, settings: SampleSettings, total: int, first: int = 0) -> list[Outcome]:
    """Some rows of a run, without a runner."""
    method = sample(engine, settings, [END])

    async def all_at_once() -> list[Outcome]:
        rows = islice(sample_rows(settings.record(), "m")(first), total)
        return await asyncio.gather(*(method(row) for row in rows))

    found: list[Outcome] = loop.run(all_at_once())
    return found


def test_rows_are_the_tokens_drawn_after_the_context(loop: Any, engine: Engine, chat: ChatFormat) -> None:
    found = outcomes(loop, engine, SETTINGS, 40)
    texts = set()
    for outcome in found:
        row, ids, labels = outcome.row, outcome.row.extra["input_ids"], outcome.row.extra["labels"]
        assert outcome.reason is None and (row.method, row.model, row.messages) == ("sample", "m", [])
        assert len(ids) == SETTINGS.length and ids[0] == BOS and labels == [IGNORED, *ids[1:]]
        assert row.extra["text"] == chat.tokenizer.decode(ids[1:], skip_special_tokens=False)
        texts.add(row.extra["text"])
    assert len(texts) == 40
    assert any(END in outcome.row.extra["input_ids"][1:-1] for outcome in found), "it writes on after an end token"


def test_a_row_ends_with_its_first_end_token_where_that_is_asked_for(loop: Any, engine: Engine) -> None:
    found = outcomes(loop, engine, replace(SETTINGS, stop_at_end=True, length=24), 60)
    ended = 0
    for outcome in found:
        ids, labels = outcome.row.extra["input_ids"], outcome.row.extra["labels"]
        assert END not in ids[1:-1] and labels == [IGNORED, *ids[1:]] and "<|end|>" not in outcome.row.extra["text"]
        assert (outcome.reason == "empty") == (ids == [BOS, END])
        assert len(ids) == 24 or ids[-1] == END
        ended += ids[-1] == END
    assert 20 < ended < 60


def test_samples_are_from_the_models_own_distribution(loop: Any, transformers_engine: Engine) -> None:
    """The tokens drawn are as likely, on average, as the model expects at their places, within four standard errors."""
    found = outcomes(loop, transformers_engine, SETTINGS, 80)
    ids = torch.tensor([outcome.row.extra["input_ids"] for outcome in found])
    with torch.inference_mode():
        logprobs = load_causal_model(MODEL, torch.float32)(ids).logits[:, :-1].log_softmax(-1)
    surprise = -logprobs.gather(-1, ids[:, 1:, None])[..., 0]
    expected = -(logprobs.exp() * logprobs).sum(-1)
    difference = (surprise - expected).numpy().ravel()
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(difference.size)
    assert expected.mean() > 0.2, "there is something to draw"


def test_rows_do_not_depend_on_those_beside_them(loop: Any, transformers_engine: Engine) -> None:
    together = [outcome.row.extra["input_ids"] for outcome in outcomes(loop, transformers_engine, SETTINGS, 12)]
    alone = [
        outcomes(loop, transformers_engine, SETTINGS, 1, first)[0].row.extra["input_ids"] for first in range(0, 12, 4)
    ]
    assert sum(one != other for one, other in zip(alone, together[::4], strict=True)) <= 1  # rounding


def test_a_server_that_ends_by_itself_is_noticed(loop: Any, chat: ChatFormat) -> None:
    class Ending:
        """Draws one token, as a server does that does not ignore end tokens."""

        max_length = 512

        async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
            return [Completion((70,), chat.tokenizer.decode([70]), "stop")]

    ending: Any = Ending()
    [outcome] = outcomes(loop, ending, SETTINGS, 1)
    assert outcome.reason is not None and outcome.reason.startswith("ended early: ")
    [outcome] = outcomes(loop, ending, replace(SETTINGS, stop_at_end=True), 1)
    assert outcome.reason is None


def test_what_precedes_a_sample(chat: ChatFormat) -> None:
    adds = small_tokenizer(specials=("<s>", "</s>", "<|im_start|>"))
    silent = small_tokenizer(bos=None)
    assert context_of(adds) == (adds.bos_token_id,)
    assert context_of(chat.tokenizer) == (BOS,), "it has one, and puts it before no text"
    assert context_of(silent, begin=7) == (7,), "the model's generation config names one"
    assert context_of(silent) == (silent.eos_token_id,), "documents were separated by it"
    assert context_of(adds, start="<|im_start|>") == (adds.convert_tokens_to_ids("<|im_start|>"),)
    two = small_tokenizer(specials=("[gMASK]<sop>", "<s>", "</s>"), bos="[gMASK]<sop>")
    two.bos_token = None
    assert context_of(two) == (two.convert_tokens_to_ids("[gMASK]<sop>"),), "whatever the tokenizer puts there"
    with pytest.raises(UsageError, match=r"neither a beginning-of-sequence nor an end-of-sequence token.*`start`"):
        context_of(small_tokenizer(bos=None, eos=None))
    with pytest.raises(UsageError, match="`start` is empty"):
        context_of(adds, start="")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 1}, "`length` 1 leaves no room"),
        ({"sampling": Sampling(temperature=0)}, "`temperature` 0 would give the same row"),
    ],
)
def test_bad_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SETTINGS, **changes)


def test_what_the_model_cannot_do_is_refused(transformers_engine: Engine) -> None:
    with pytest.raises(UsageError, match="`length` 600: the engine's window holds 512 tokens"):
        sample(transformers_engine, replace(SETTINGS, length=600))
    with pytest.raises(UsageError, match="`stop_at_end`: the model has no end-of-sequence token"):
        sample(NOT_OPEN, replace(SETTINGS, stop_at_end=True))
