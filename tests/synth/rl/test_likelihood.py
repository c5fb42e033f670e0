"""Parts that ask a model: its log-probabilities, and its verdict."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import synth
from synth.chat.format import ChatFormat
from synth.errors import UsageError
from synth.generation.models import Model
from synth.rl.completions import read_drawn

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
    summed = synth.rewards("repetition", "logprob", reference_model=model, weights=[1, 0.01])
    assert summed(window, said[:2])[1] is None  # it does not pay
    summed.close()


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


def test_thoughts_that_the_prompt_has_opened_are_cut_off(hybrid: str, tmp_path: Path) -> None:
    """As with DeepSeek-R1's distilled models, where trainers give what follows the opening as the answer's content."""
    for file in Path(hybrid).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    template = tmp_path / "chat_template.jinja"
    opened = re.sub(r"\{%-? if add_generation_prompt.*", "", template.read_text(), flags=re.DOTALL)
    template.write_text(opened + "{% if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}")
    reward = pickle.loads(pickle.dumps(synth.rewards("number", model=tmp_path)))
    chat = Model(tmp_path).chat
    assert chat.begun == "thoughts"
    texts = ["2 and 2 is 4, or is it", "2 and 2.\n</think>\n\nIt is 4."]
    ids = [chat.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    said = [[{"role": "assistant", "content": text}] for text in texts]
    rewards = reward([ASK] * 2, said, [ids[0], [*ids[1], *chat.end_ids]], reference=["4"] * 2)
    assert rewards == [0.0, 1.0]
    assert [read_drawn(chat, one).text for one in ids] == [f"<think>\n{text}" for text in texts]
    with pytest.raises(UsageError, match="no `completion_ids`"):
        reward([ASK], said[:1], reference=["4"])
    reward.close()
