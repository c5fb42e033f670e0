"""Self-synthesised rehearsal (SSR): new examples of an old task from a few kept ones (arXiv 2403.01244).

    inputs      shown two kept examples at a time, a model writes a further input
    selection   inputs are clustered by their embeddings; of each cluster those nearest to its centroid are taken
    answers     the model that is to be trained further answers them itself

Its two runs and the selection between them are in `synth.methods.ssr_runs`.

Differs from the paper: which two examples are shown is drawn for each input, not gone through in order; answers are
drawn after the selection, as the paper's repository recommends, so that none is thrown away; clusters are represented
in exact proportion, where rounding each cluster's share misses the number asked for; there is no repetition penalty,
but inputs that go round in circles are rejected.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from filters.response.calls import only_calls
from synth.chat.format import ChatFormat
from synth.curation.clusters import in_proportion, k_means
from synth.curation.embeddings import Embedder
from synth.data.row import Message, Outcome, Row, digest
from synth.data.run.record import without
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.runner import empty_rows
from synth.generation.screen import answer_fault, question_fault
from synth.seeds import seed_of

SHOTS = 2
"""Examples that are shown at a time."""
INPUT, OUTPUT = "Input:", "Output:"
"""What stands before their questions and answers."""

COLUMNS = pa.schema(
    [
        ("cluster", pa.int32()),  # the group that the input represents
        ("distance", pa.float32()),  # squared, from the centroid of its group
    ]
)


@dataclass(frozen=True, slots=True)
class SsrSettings:
    """The settings that determine the rows of a run, beside the models and the kept examples.

    Attributes:
        seed: the run's seed.
        clusters: groups of inputs.
        question: how inputs are drawn.
        answer: how answers are drawn (greedy in the paper).
    """

    seed: int = 0
    clusters: int = 20
    question: Sampling = field(default_factory=lambda: Sampling(max_tokens=512, temperature=0.9, top_p=0.6))
    answer: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.0))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.clusters < 1:
            raise UsageError(f"`clusters` must be at least 1, not {self.clusters}")
        if self.question.temperature == 0:
            raise UsageError("at temperature 0 the same examples give the same input: give a `temperature` above 0")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        chosen = self.question.chosen() | {"question_tokens": self.question.max_tokens}
        return without(asdict(self), "question", "answer") | chosen | {"max_tokens": self.answer.max_tokens}


@dataclass(frozen=True, slots=True)
class Example:
    """A kept example: the turns up to its question, and the answer."""

    asked: tuple[Message, ...]
    answer: str

    @property
    def question(self) -> str:
        """The user's turn."""
        return str(self.asked[-1]["content"])


def kept_examples(rows: Iterable[Row]) -> list[Example]:
    """The rows that are one question and its answer, each question once.

    Raises:
        UsageError: there are fewer than are shown at a time.
    """
    examples: dict[str, Example] = {}
    for row in rows:
        roles = [turn["role"] for turn in row.messages]
        if roles in (["user"], ["system", "user"]) and row.reference and not only_calls(row.reference):
            examples.setdefault(row.messages[-1]["content"], Example(tuple(row.messages), row.reference))
    if len(examples) < SHOTS:
        raise UsageError(
            f"{len(examples)} rows are one question with its answer; at least {SHOTS} are needed, and 20 are plenty"
        )
    return list(examples.values())


def input_rows(settings: dict[str, Any], model: str) -> Callable[[int], Iterator[Row]]:
    """Endless empty rows; see `empty_rows`."""
    return empty_rows("ssr-inputs", settings, model)


def inputs(
    chat_model: ChatModel, examples: Sequence[Example], settings: SsrSettings
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method that writes new inputs: completes an empty row with a user's turn."""
    ask = replace(settings.question, stop_ids=chat_model.chat.stop_ids, stop=(f"\n{OUTPUT}",))
    known = {" ".join(example.question.split()).casefold() for example in examples}

    async def write(row: Row) -> Outcome:
        choice = random.Random(seed_of(settings.seed, row.id, "shots"))
        shown = choice.sample(examples, SHOTS)
        prompt = shots_prompt(chat_model.chat, shown)
        [question] = await chat_model.engine.generate(
            prompt, replace(ask, seed=seed_of(settings.seed, row.id, "input"))
        )
        text = question.text.strip()
        row.messages = [*shown[0].asked[:-1], {"role": "user", "content": text}]
        if fault := question_fault(question, chat_model.chat):
            return Outcome(row, f"input {fault}")
        if " ".join(text.split()).casefold() in known:
            return Outcome(row, "copy of a kept example")
        return Outcome(row)

    return write


def shots_prompt(chat: ChatFormat, shown: Sequence[Example]) -> list[int]:
    """Token ids of the text that a further input continues.

    Plain text, not turns of a conversation, for chat models, too: as a turn, the next input would be a follow-up on
    those before it. What looks like a control token in an example stays plain text.
    """
    system = [turn["content"] + "\n\n" for turn in shown[0].asked[:-1]]
    pairs = [f"{INPUT} {example.question}\n{OUTPUT} {example.answer}\n\n" for example in shown]
    text = "".join([*system, *pairs, INPUT])
    tokenizer = chat.tokenizer
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    begins = tokenizer.bos_token is not None and chat.turns.prefix.startswith(tokenizer.bos_token)
    return [tokenizer.bos_token_id, *ids] if begins else ids


@dataclass(frozen=True, slots=True)
class Chosen:
    """An input with its place among the others.

    Attributes:
        name: the id of the row that it was written in.
        messages: up to the question.
        cluster: the number of its group.
        distance: squared, from the centroid of its group.
    """

    name: str
    messages: list[Message]
    cluster: int
    distance: float


def by_representation(rows: Sequence[dict[str, Any]], embed: Embedder, settings: SsrSettings) -> list[Chosen]:
    """Inputs in an order whose first n represent all of them, for any n; see `synth.curation.clusters.in_proportion`.

    Args:
        rows: records of `inputs`, with `id` and `messages`.
        embed: what their questions are embedded with.
        settings: `clusters` and `seed` are read here.
    """
    vectors = embed([row["messages"][-1]["content"] for row in rows])
    clusters = k_means(np.asarray(vectors, np.float32), settings.clusters, seed_of(settings.seed, "clusters"))
    return [
        Chosen(rows[i]["id"], rows[i]["messages"], int(clusters.labels[i]), float(clusters.distances[i]))
        for i in in_proportion(clusters).tolist()
    ]


def chosen_rows(chosen: Sequence[Chosen], settings: dict[str, Any]) -> Callable[[int], Iterator[Row]]:
    """The inputs as rows to answer, from any index on; `settings` are all that decide the answers."""
    source = digest("ssr", settings)

    def rows(start: int) -> Iterator[Row]:
        for one in chosen[start:]:
            place = {"cluster": one.cluster, "distance": one.distance}
            yield Row(digest(source, one.name), list(one.messages), "ssr", parent=one.name, extra=place)

    return rows


def answers(chat_model: ChatModel, settings: SsrSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method that answers: completes a row that ends in a user's turn."""

    async def answer(row: Row) -> Outcome:
        seed = seed_of(settings.seed, row.id, "answer")
        completion = await chat_model.reply(row.messages, replace(settings.answer, seed=seed))
        chat_model.put(row, completion)
        row.model = chat_model.name
        row.logprob = completion.logprob
        if fault := answer_fault(completion, chat_model.chat):
            return Outcome(row, f"answer {fault}")
        return Outcome(row)

    return answer
