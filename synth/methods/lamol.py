"""LAMOL: a language model learns to do tasks and to generate their examples (Sun et al. 2020, arXiv 1909.03329).

An example is one text: a generation token, the question, the answer token, the answer, end of sequence. Trained with
the loss on the answer and a language-model loss on all of it (0.25 of it in the paper), a model can answer, and
can also write examples of the task from nothing but the task's generation token. Before it learns a new task it writes
examples of the old ones, which are learnt again with the new: pseudo-replay.

How a task's rows are made into such examples is in `synth.methods.lamol_preparing`.

The tokens are texts on lines of their own, `[GEN]` and `[ANS]`, not new entries of the vocabulary: so no embedding has
to be learnt from nothing, adapters and frozen embeddings do, every engine and server runs the model as it is, and it is
asked as any base model is (`prefix` the generation token, `stop` the answer token). Where the tokenizer has a token
of that very text, such as `<s>`, that one token is what is written.

Differs from the paper's repository: a question is asked behind the generation token, too, so that one sequence serves
both losses; examples that were written before are rejected; samples are drawn until as many as are wanted parse, and of
every old task equally many (there, equally many are drawn, and a task whose examples parse less often gets fewer).
"""

import copy
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any

import pyarrow as pa

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.data.row import Outcome, Row, digest
from synth.data.run.record import without
from synth.engines.base import Completion, Engine, Sampling, Tokenizer
from synth.errors import UsageError
from synth.generation.screen import text_fault
from synth.seeds import seed_of

GENERATION, ANSWER = "[GEN]", "[ANS]"
"""The tokens where none are named: before an example, and between question and answer."""

TOKEN = "generation_token"
"""The column that says which task's token an example was written after; a row that is prepared keeps it."""

COLUMNS = pa.schema([(TOKEN, pa.string())])


@dataclass(frozen=True, slots=True)
class LamolSettings:
    """The settings that determine the rows of a run, beside the model.

    Attributes:
        seed: the run's seed.
        tokens: the generation token of each old task; they take turns.
        answer_token: the answer token.
        sampling: how examples are drawn (top-k 20 in the paper's repository).
    """

    seed: int = 0
    tokens: tuple[str, ...] = (GENERATION,)
    answer_token: str = ANSWER
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=1024, top_k=20))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: there is no generation token; or a token is empty or has white space around it or several lines,
                or holds another.
        """
        if not self.tokens:
            raise UsageError("`tokens`: name at least one generation token")
        tokens = [*self.tokens, self.answer_token]
        for token in tokens:
            if not token or token != token.strip() or len(token.splitlines()) > 1:
                raise UsageError(f"{token!r} is no token: give one line of text without white space around it")
        for index, token in enumerate(tokens):
            if any(token in other for other in tokens[:index] + tokens[index + 1 :]):
                raise UsageError(f"{token} is also (in) another of the tokens: an example could not be told apart")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return without(asdict(self) | self.sampling.chosen(), "sampling", "top_p")


def example_format(tokenizer: Tokenizer, token: str, answer: str) -> ChatFormat:
    """How examples of one task are written: as conversations of one turn, whatever chat template the model has.

    Raises:
        UsageError: the tokenizer has no end-of-sequence token, or the tokens cannot be written with it.
    """
    if tokenizer.eos_token is None:
        raise UsageError("this tokenizer has no end-of-sequence token: the end of an example could not be learnt")
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    return chat_format(plain, prefix=before_question(token), stop=before_answer(answer))


def before_question(token: str) -> str:
    """The text before a question: the generation token on a line of its own."""
    return f"{token}\n"


def before_answer(token: str) -> str:
    """The text between question and answer: the answer token on a line of its own."""
    return f"\n{token}\n"


def lamol_rows(tokens: Sequence[str]) -> Callable[[dict[str, Any], str], Callable[[int], Iterator[Row]]]:
    """Endless empty rows for the tokens by turns; see `synth.generation.runner.empty_rows`."""

    def of(settings: dict[str, Any], model: str) -> Callable[[int], Iterator[Row]]:
        source = digest("lamol", settings)

        def rows(start: int) -> Iterator[Row]:
            for index in count(start):
                own = {TOKEN: tokens[index % len(tokens)]}
                yield Row(digest(source, index), [], "lamol", model=model, extra=own)

        return rows

    return of


def lamol(engine: Engine, tokenizer: Tokenizer, settings: LamolSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method that writes examples: completes an empty row with a question and its answer.

    Raises:
        UsageError: as for `example_format`.
    """
    formats = {token: example_format(tokenizer, token, settings.answer_token) for token in settings.tokens}

    async def write(row: Row) -> Outcome:
        form = formats[row.extra[TOKEN]]
        seed = seed_of(settings.seed, row.id, "example")
        ask = replace(settings.sampling, seed=seed, stop_ids=form.answer_stop_ids, stop=form.answer_stop)
        [drawn] = await engine.generate(form.user_prompt().ids, ask)
        question, *answers = drawn.text.split(settings.answer_token)
        row.messages = [{"role": "user", "content": question.strip()}]
        row.messages += [{"role": "assistant", "content": text.strip()} for text in answers]
        row.logprob = drawn.logprob
        return Outcome(row, example_fault(drawn, question, answers, formats))

    return write


def example_fault(
    drawn: Completion, question: str, answers: Sequence[str], formats: dict[str, ChatFormat]
) -> str | None:
    """Why a drawn example is invalid, or None: it must be one question and one answer, and end."""
    if drawn.finish == "length":
        return "cut off"
    if len(answers) != 1:
        return "several answer tokens" if answers else "no answer token"
    for name, text in (("question", question), ("answer", answers[0])):
        if not text.strip():
            return f"empty {name}"
        if held := next((token for token in formats if token in text), None):
            return f"holds a generation token: {held}"
    form = next(iter(formats.values()))
    return text_fault(drawn, f"{question.strip()} {answers[0].strip()}", form)
