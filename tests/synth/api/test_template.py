"""`synth.template`."""

from pathlib import Path

import pytest

import synth
from tests.conftest import MODEL
from tests.synth.tokenizers import small_tokenizer


def test_what_is_derived_and_an_example_of_it() -> None:
    template = synth.template(MODEL)
    assert template.model == MODEL and template.prefix_ids and template.stop and template.answer_stop
    texts = [token.text for token in template.example.tokens]
    assert "".join(texts) == template.example.text
    [first, second] = ["".join(texts[start:end]) for start, end in template.example.spans]
    assert "It is 4." in first and "It is 6." in second
    assert [token.id for token in template.example.tokens][: len(template.prefix_ids)] == template.prefix_ids
    assert template.record()["spans"]["tokens"][0] == {
        "id": template.prefix_ids[0],
        "text": texts[0],
        "trained": False,
    }


def test_a_model_that_is_loaded_and_a_base_model(tmp_path: Path) -> None:
    with synth.load(MODEL) as model:
        assert synth.template(model) == synth.template(MODEL)
    small_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(synth.UsageError, match="no chat template") as wrong:
        synth.template(str(tmp_path))
    assert wrong.value.field == "prefix"
    with synth.load(str(tmp_path), prefix="Question: ", stop="\nAnswer: ") as base:
        template = synth.template(base)
    assert template.second_prefix is None and template.prefix.endswith("Question: ")
