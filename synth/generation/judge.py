"""`judge`: a model is asked whether an answer is right.

The judge's reply is bounded and parsed strictly; anything but one clear verdict is `unscorable`. The answer it reads
may try to persuade it: a judge is a weaker verifier than any check that is executed.
"""

import re
from collections.abc import Sequence

from filters.response.thoughts import after_thoughts
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Task, Verdict
from synth.engines.base import Sampling
from synth.errors import RequestError
from synth.generation.chat_model import ChatModel
from synth.generation.prompt_files import fill, load_prompt

CHARACTERS = 20_000
"""Characters of an answer that the judge reads at most."""

JUDGE_PLACES = {"question", "reference", "answer"}

_VERDICT = re.compile(r"^\W*verdict\W*(right|wrong)\W*$", re.IGNORECASE | re.MULTILINE)


class Judge:
    """A model as a verifier."""

    name = "judge"
    votes = False

    def __init__(self, chat_model: ChatModel, prompt: str = "judge", max_tokens: int = 512) -> None:
        self._prompt = load_prompt(prompt, {"question", "answer"}, JUDGE_PLACES)
        self._chat_model = chat_model
        self._sampling = Sampling(max_tokens=max_tokens, temperature=0.0)

    async def check(self, response: str, task: Task) -> Verdict:
        """See `Verifier.check`. The verdict's answer is what the judge said."""
        if len(response) > CHARACTERS:
            return Verdict(UNSCORABLE, None, f"longer than the {CHARACTERS:,} characters that a judge reads")
        reference = "(none)" if task.reference is None else task.reference
        ask = fill(self._prompt, question=task.prompt, reference=reference, answer=after_thoughts(response))
        try:
            said = await self._chat_model.reply([{"role": "user", "content": ask}], self._sampling)
        except RequestError as error:
            return Verdict(UNSCORABLE, None, f"the judge could not be asked: {error}")
        text = self._chat_model.chat.parse(said.text).content
        verdicts = {word.lower() for word in _VERDICT.findall(after_thoughts(text))}
        if len(verdicts) != 1:
            return Verdict(UNSCORABLE, text, "the judge gave no clear verdict")
        if verdicts == {"right"}:
            return Verdict(RIGHT, text)
        return Verdict(WRONG, text, "the judge says so")

    def vote(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """See `Verifier.vote`."""
        return list(verdicts)

    def gold(self, task: Task) -> str | None:
        """The reference itself: a judge that calls it wrong is not to be trusted on that task."""
        return task.reference

    async def close(self) -> None:
        """Nothing to do: the model's owner closes it."""
