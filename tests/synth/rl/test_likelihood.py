"""Parts that ask a model: its log-probabilities, and its verdict."""

import pickle
from pathlib import Path
from typing import Any

import pytest

import synth
from synth.chat.format import ChatFormat
from synth.errors import UsageError

ASK = [{"role": "user", "content": "What is 2 + 2?"}]


def test_it_is_the_sum_over_the_tokens_drawn(model: str, chat: ChatFormat) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    ids = [chat.template.token_ids(text) for text in ("It is 4.", "zxq")]
    reward = pickle.loads(pickle.dumps(synth.rewards("logprob", reference_model=model)))
    said = [[{"role": "assistant", "content": text}] for text in ("It is 4.", "zxq", "")]
    values = reward([ASK] * 3, said, [*ids, []])
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    prompt: list[int] = chat.answer_prompt(ASK)
    for drawn, value in zip(ids, values, strict=False):
        with torch.no_grad():
            logits = reference(torch.tensor([[*prompt, *drawn]])).logits[0, len(prompt) - 1 : -1]
        logprobs = logits.log_softmax(-1).gather(1, torch.tensor(drawn)[:, None])
        assert value == pytest.approx(logprobs.sum().item(), abs=1e-3)
    assert values[2] == 0.0
    assert reward([ASK], said[:1]) == [pytest.approx(values[0], abs=1e-3)]  # without the tokens, of the text's own
    assert reward(["What is 2 + 2?"], ["It is 4."])[0] < 0
    window: list[Any] = [ASK, [{"role": "user", "content": "word " * 5000}]]
    assert reward(window, said[:2])[1] is None  # longer than the window
    reward.close()


def test_without_a_model() -> None:
    with pytest.raises(UsageError, match=r"needs the model .*`reference_model`"):
        synth.rewards("math", "logprob")


def test_a_model_judges(model: str, tmp_path: Path) -> None:
    reward = pickle.loads(pickle.dumps(synth.rewards("judge", judge=model)))
    table: dict[str, list[str]] = {}
    assert reward([ASK], ["4"], reference=["4"], log_extra=table.__setitem__) == [None]
    assert table["judge: verdict"] == ["unscorable: the judge gave no clear verdict"]
    reward.close()
    with pytest.raises(UsageError, match=r"`judge_prompt`|judge_prompt|no such|cannot"):
        synth.rewards("judge", judge=model, judge_prompt=str(tmp_path / "none"))
