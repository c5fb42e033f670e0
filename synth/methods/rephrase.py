"""Rephrase: documents restated by a model, as texts for continued pre-training (WRAP, arXiv 2401.16380).

Documents are cut into chunks of up to 300 tokens, since models lose parts of longer ones; a model restates each in
one or several styles: like an encyclopedia, easy, terse, or as questions and answers. The originals stay beside
it, one text to each rephrased one in the paper: rephrased text alone lacks the noise of real text.

As in the paper, lead-ins are cut. Differs from it: chunks end with sentences; texts that still talk of the task, copies
and texts much shorter or longer than their chunk are rejected.
"""

import math
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from synth.data.row import BASE, Outcome, Row
from synth.data.run.record import without
from synth.engines.base import Sampling, Tokenizer
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.documents import Cut, passages
from synth.generation.prompt_files import fill, load_prompt, prompt_names
from synth.generation.screen import answer_fault
from synth.methods.copying import copied
from synth.methods.paraphrase import telltale
from synth.seeds import seed_of

CHUNKS = pa.schema([BASE.field("messages"), BASE.field("reference"), ("chunk", pa.int32()), ("style", pa.string())])
"""What the input becomes: `reference` is the chunk, `chunk` its number in its document."""

COLUMNS = pa.schema([("text", pa.string()), ("tokens", pa.int32())])
"""`text` is what is trained on, `tokens` how long it is."""

ORIGINAL = "original"
"""The style of a chunk that is kept as it is."""

SHORTEST, LONGEST = 0.25, 3.0
"""Tokens of a rephrased text per token of its chunk: fewer mean a loss, more an invention."""

COPY = 0.8
"""Largest share of a text that may be copied from its chunk word for word."""

_ANNOUNCES = r"(?:sure|certainly|of course|absolutely|okay|ok|here(?: is|['’]s| are)|below|this is|the following)\b"
_TASK = r"(?:re-?phras\w*|paraphras\w*|re-?writ\w*|re-?word\w*|simplified|text|continuation)\b"
_LEAD_IN = re.compile(
    rf"\A\W*(?:{_ANNOUNCES}[^\n:]{{0,160}}:[*_]*[ \t]*(?:\n|\Z)"  # an announcement on a line of its own
    rf"|(?:{_ANNOUNCES}[^\n:]{{0,100}}\b)?{_TASK}[^\n:]{{0,60}}:[*_]*(?:\s|\Z))",  # or one that names the task
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"^\W*(?:(?:please )?let me know\b|i hope\b|i have (?:re|para|kept)|would you like\b|feel free\b"
    r"|is there anything\b|note(?: that)?:? (?:i|this is|the above)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RephraseSettings:
    """The settings that determine the rows, beside the model.

    Attributes:
        seed: the run's seed.
        style: names of prompts, ours or files with the place {text}; one row of each for every chunk.
        chunk_tokens: most tokens of a chunk.
        originals: chunks that stand as they are, for each rephrased one.
        sampling: how texts are drawn.
    """

    seed: int = 0
    style: tuple[str, ...] = ("rephrase-wikipedia",)
    chunk_tokens: int = 300
    originals: float = 0.0
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.chunk_tokens < 10:
            raise UsageError(f"`chunk_tokens` must be at least 10, not {self.chunk_tokens}")
        if len(set(self.style)) < len(self.style) or not self.style:
            raise UsageError("`style`: name each style once")
        if not 0 <= self.originals * len(self.style) <= 1:
            raise UsageError(
                f"`originals` asks for {self.originals * len(self.style):g} originals of each chunk, and there is "
                f"one: with so many styles, 1:{len(self.style)} takes them all"
            )

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, the prompts' texts among them."""
        return without(asdict(self), "sampling") | self.sampling.chosen() | {"prompts": self.prompts()}

    def prompts(self) -> dict[str, str]:
        """The prompt of each style, by the name it has in the rows.

        Raises:
            UsageError: one cannot be read, or lacks the place for the text.
        """
        return {name.removeprefix("rephrase-"): load_prompt(name, {"text"}, {"text"}) for name in self.style}


def ratio(given: str | float) -> float:
    """How many originals there are to a rephrased text.

    Args:
        given: A:B, or the ratio itself.

    Raises:
        UsageError: it is none.
    """
    try:
        originals, rephrased = map(float, given.split(":")) if isinstance(given, str) else (given, 1.0)
        found = originals / rephrased
    except (ValueError, ZeroDivisionError):
        found = -1.0
    if not 0 <= found < math.inf:
        raise UsageError(f"`originals` {given} is no ratio; write 1:1 for as many originals as rephrased texts")
    return found


def style_name(style: str) -> str:
    """The prompt's name for a style of ours such as `easy`; a file's name as it is."""
    ours = f"rephrase-{style}"
    return ours if ours in prompt_names("rephrase") else style


def chunking(tokenizer: Tokenizer, settings: RephraseSettings) -> Cut:
    """What cuts a document into rows: each chunk once in each style, and by chance as it is."""
    share = settings.originals * len(settings.style)
    names = list(settings.prompts())

    def cut(document: str, text: str) -> Iterator[dict[str, Any]]:
        if not text:
            yield {"messages": None, "reference": None, "chunk": 0, "style": None}
        for number, chunk in enumerate(passages(text, tokenizer, settings.chunk_tokens)):
            chance = random.Random(seed_of(settings.seed, document, number, ORIGINAL))
            for style in [ORIGINAL, *names] if chance.random() < share else names:
                yield {"messages": None, "reference": chunk, "chunk": number, "style": style}

    return cut


def rephrase(chat_model: ChatModel, settings: RephraseSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model, over the rows of `chunking`."""
    prompts = settings.prompts()
    tokenizer = chat_model.chat.tokenizer

    def tokens_of(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    async def method(row: Row) -> Outcome:
        chunk, style = row.reference, row.passthrough["style"]
        if not chunk:
            return Outcome(row, "empty document")
        source = tokens_of(chunk)
        if style == ORIGINAL:
            row.method = "gold"
            row.extra = {"text": chunk, "tokens": len(source)}
            return Outcome(row)
        ask = fill(prompts[style], text=chunk)
        seed = seed_of(settings.seed, row.id, "rephrased")
        completion = await chat_model.reply([{"role": "user", "content": ask}], replace(settings.sampling, seed=seed))
        text = without_lead_in(chat_model.chat.parse(completion.text).content)
        tokens = tokens_of(text)
        row.model, row.samples = chat_model.name, 1
        row.extra = {"text": text, "tokens": len(tokens)}
        fault = answer_fault(completion, chat_model.chat) or remark(text, chunk)
        return Outcome(row, fault or _length_fault(tokens, source) or _copy_fault(tokens, source))

    return method


def without_lead_in(text: str) -> str:
    """A text without a first line, or first words, that only announce it."""
    return _LEAD_IN.sub("", text.strip(), count=1).strip()


def remark(text: str, chunk: str) -> str | None:
    """Why a text is more than the text asked for: it is empty, or begins or ends by speaking of the task."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return "empty"
    if talk := telltale(lines[0][:200], chunk) or telltale(lines[-1][-200:], chunk):
        return f"talks about the task: {talk}"
    if len(lines) > 1 and _REMARK.search(lines[-1]):
        return "ends with a remark to the reader"
    return None


def _length_fault(tokens: list[int], source: list[int]) -> str | None:
    ratio = len(tokens) / len(source)
    if SHORTEST <= ratio <= LONGEST:
        return None
    return f"too {'short' if ratio < SHORTEST else 'long'}: {ratio:.2f} tokens for each of the chunk"


def _copy_fault(tokens: list[int], source: list[int]) -> str | None:
    share = copied(tokens, source)
    return f"copy: {share:.0%} of it stands in the chunk" if share >= COPY else None
