"""Small tokenizers for tests, trained on a few sentences, and the real chat templates they are tried with.

Two kinds, as in real models: byte-level BPE (Llama-3, Qwen) and SentencePiece-like BPE with byte fallback (Llama-2,
Mistral, Gemma). Both put a beginning-of-sequence token before plain text, so that a doubled one is seen.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.data.row import Message

DATA = Path(os.environ.get("SYNTH_TEST_DATA") or Path(__file__).parents[2] / "../shared/data")

SENTENCES = [
    "What is the capital of France? The capital of France is Paris.",
    "USER: Write a poem about the sea. ASSISTANT: The sea is wide, the sea is deep.",
    "[INST] Add 12 and 30. [/INST] 12 + 30 = 42.",
    "system user assistant model You are a helpful assistant.",
    "The quick brown fox jumps over the lazy dog; (why?) nobody knows.\n\n- one\n- two\n",
] * 3

Kind = Literal["bytes", "sentencepiece", "sentencepiece-legacy"]


def small_tokenizer(
    template: Any = None,
    specials: Sequence[str] = ("<s>", "</s>"),
    *,
    bos: str | None = "<s>",
    eos: str | None = "</s>",
    kind: Kind = "bytes",
) -> Any:
    """A fast tokenizer that knows `specials` and adds `bos` to plain text."""
    backend = _byte_level() if kind == "bytes" else _sentencepiece(legacy=kind == "sentencepiece-legacy")
    backend.add_special_tokens(list(specials))
    if bos is not None:
        known = [(bos, backend.token_to_id(bos))]
        backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=None, special_tokens=known)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, unk_token=None, chat_template=template
    )


def _byte_level() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    return backend


def _sentencepiece(*, legacy: bool) -> Tokenizer:
    """As Llama-2's (`legacy`: a `▁` before every stretch between special tokens) or Mistral-v0.3's tokenizer.json."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace()]  # No merge reaches over a line break.
    )
    trained.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    backend = Tokenizer(
        models.BPE(
            vocab={name: number for number, name in enumerate(names)},
            merges=[tuple(pair) for pair in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if legacy:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    strip = [decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return backend


def real_template(name: str) -> str:
    """One of the published chat templates in the optional data directory, as its model carries it."""
    path = DATA / "chat-templates" / f"{name}.jinja"
    if not path.exists():
        pytest.skip(f"no {path}: set SYNTH_TEST_DATA to the data directory")
    text = path.read_text(encoding="utf-8")
    # All but Qwen's are stored with line breaks and indents for reading, which are no part of them.
    return text if name.startswith("qwen") else text.replace("    ", "").replace("\n", "")


@dataclass(frozen=True)
class Family:
    """A real template, the special tokens and the kind of tokenizer of the models that carry it."""

    name: str
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    kind: Kind = "bytes"

    def tokenizer(self) -> Any:
        return small_tokenizer(real_template(self.name), self.specials, bos=self.bos, eos=self.eos, kind=self.kind)


LLAMA_3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
PHI_3 = ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")

FAMILIES = [
    Family("chatml", ("<s>", "<|im_start|>", "<|im_end|>"), "<s>", "<|im_end|>"),
    Family("gemma-it", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>", "sentencepiece"),
    Family("llama-2-chat", ("<s>", "</s>"), "<s>", "</s>", "sentencepiece-legacy"),
    Family("llama-3-instruct", LLAMA_3, "<|begin_of_text|>", "<|eot_id|>"),
    Family("mistral-instruct", ("<s>", "</s>"), "<s>", "</s>", "sentencepiece"),
    Family("phi-3", PHI_3, "<s>", "<|endoftext|>", "sentencepiece-legacy"),
    Family("qwen2.5-instruct", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), None, "<|im_end|>"),
    Family("vicuna", ("<s>", "</s>"), "<s>", "</s>", "sentencepiece-legacy"),
    Family("zephyr", ("<s>", "</s>"), "<s>", "</s>", "sentencepiece"),
]

BY_NAME = {family.name: family for family in FAMILIES}

IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def conversation(*contents: str) -> list[Message]:
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(contents)]


def im_format(template: Any) -> ChatFormat:
    return chat_format(small_tokenizer(template, IM, bos=None, eos="<|im_end|>"))


def texts(chat: ChatFormat, ids: tuple[int, ...]) -> list[str]:
    tokens: list[str] = chat.tokenizer.convert_ids_to_tokens(ids)
    return tokens


def turns_of(chat: ChatFormat, messages: list[Message]) -> list[str]:
    encoded = chat.encode(messages)
    return [chat.tokenizer.decode(encoded.input_ids[start:end]) for start, end in encoded.spans]


_TRL = find_spec("trl")
STORED = {
    file.stem: file
    for file in sorted((Path(_TRL.origin or "").parent / "chat_templates").glob("*.jinja") if _TRL else ())
}
"""The chat templates that TRL's wheel stores, by name."""

SIGNS = re.compile(r"<[|/]?[^<>\s'\"{}%]{1,40}>|\[/?[A-Z_]{3,30}\]")


def stored_format(name: str, *, thoughts_are_tokens: bool = True) -> ChatFormat:
    """A template that TRL stores, over a small tokenizer that has all its signs as tokens of their own."""
    if name not in STORED:
        pytest.skip("trl, which stores today's chat templates, is not installed")
    template = STORED[name].read_text(encoding="utf-8")
    signs = [sign for sign in sorted(set(SIGNS.findall(template))) if thoughts_are_tokens or "think" not in sign]
    return chat_format(small_tokenizer(template, ["<s>", "</s>", *signs]))
