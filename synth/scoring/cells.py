"""Tokens as texts that can be displayed one by one, for heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from synth.engines.base import Tokenizer
from synth.engines.loading import load_tokenizer
from synth.errors import UsageError
from synth.scoring.token_scores import scorer_model

MOST_SCORERS = 8
"""Most tokenizers loaded for one data set, as its rows name them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text that can be displayed by itself: one token, or those that make up one character."""

    text: str
    tokens: int = 1
    special: bool = False


@dataclass(slots=True)
class Tokenizers:
    """Tokenizers by name, each loaded once. `notes` say which could not be loaded."""

    model: str | None = None
    notes: list[str] = field(default_factory=list)
    _loaded: dict[str, Tokenizer | None] = field(default_factory=dict)

    def of(self, scorer: str | None) -> Tokenizer | None:
        """The tokenizer of `model`, else of the model in a row's `scorer`; None where it cannot be loaded."""
        name = self.model or (scorer_model(scorer) if scorer else "")
        if name not in self._loaded:
            self._loaded[name] = self._load(name) if len(self._loaded) < MOST_SCORERS else None
        return self._loaded[name]

    def _load(self, name: str) -> Tokenizer | None:
        hint = "name a model with the same tokenizer: `model` M"
        if not name:
            self.notes.append(f"no heat maps of rows that do not say which model scored them; {hint}")
            return None
        try:
            return load_tokenizer(name)
        except UsageError as error:
            reason = str(error).removeprefix("`model` ")
            self.notes.append(f"no heat maps: the tokenizer of {name} cannot be loaded ({reason}); {hint}")
            return None


def cells(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Cell]:
    """Tokens as texts that make up the decoded text.

    Each is what its tokens add to the text before it, so that white space is kept. Tokens that hold parts of one
    character share a cell.
    """
    special = set(tokenizer.all_special_ids)
    size = len(tokenizer)
    shown: list[Cell] = []
    context = done = 0  # ids[context:done] are written, and are what the next ones follow

    def text_of(start: int, end: int) -> str:
        text = tokenizer.decode(ids[start:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def added(end: int) -> str:
        before, now = text_of(context, done), text_of(context, end)
        return now[len(before) :] if now.startswith(before) else text_of(done, end)

    def write(end: int, text: str) -> None:
        nonlocal context, done
        shown.append(Cell(text or "".join(map(str, tokenizer.convert_ids_to_tokens(ids[done:end]))), end - done))
        context, done = done, end

    for position, token in enumerate(ids):
        known = 0 <= token < size
        if known and token not in special:
            text = added(position + 1)
            if position - done == 3 or not text.endswith("\ufffd"):  # no character takes five bytes
                write(position + 1, text)
            continue
        if done < position:
            write(position, added(position))
        name = tokenizer.convert_ids_to_tokens(token) if known else None
        shown.append(Cell(name or f"<token {token}>", special=True))
        context = done = position + 1
    if done < len(ids):
        write(len(ids), added(len(ids)))
    return shown
