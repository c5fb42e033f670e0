"""What is scored: a data set, by which model, and which of its tokens."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, Self, get_args

from synth.chat.format import ChatFormat
from synth.data.plain import TEXT, has_texts, only_texts
from synth.data.prompts import PromptSet
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.data.run.versions import versions
from synth.errors import UsageError
from synth.scoring.encoding import Protection, RowEncoder
from synth.scoring.masks import Mask
from synth.scoring.token_scores import (
    LABELLED,
    TokenScorer,
    TokenScores,
    keeps_entropies,
    prepared_tokens,
    scorer_name,
)
from synth.values import Overlong, TrainOn


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """Which tokens of each row are scored, and which are masked.

    Attributes:
        mask: the mask.
        train_on: what of a conversation is scored and trained on.
        text_column: the column with plain texts, where it is not `text`.
        protect: tokens that are never masked.
        overlong: what becomes of rows longer than the window.
        entropy: entropies and ranks are columns, too.
    """

    mask: Mask
    train_on: TrainOn = "assistant"
    text_column: str | None = None
    protect: frozenset[Protection] = frozenset()
    overlong: Overlong = "drop"
    entropy: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown values.

        Raises:
            UsageError: there is no such value.
        """
        for name, kind in (("train_on", TrainOn), ("overlong", Overlong)):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(f"`{name}` {getattr(self, name)} is unknown; take {', '.join(get_args(kind))}")
        if unknown := self.protect - set(get_args(Protection)):
            raise UsageError(f"`protect` {', '.join(sorted(unknown))} is unknown; take end-of-turn, answer, or both")


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """The model that is to be trained, and the one that scores, which may be another; neither is loaded yet.

    Attributes:
        given: the name of the one that is trained.
        settings: what `run.json` says of it.
        scorer: the name of the one that scores.
        title: what people are told that it is, its adapter included.
        revision: of its weights.
        chat: reads the chat format of the one that is trained; of a base model there is one for plain texts alone, for
            which the argument is true. Raises UsageError.
        open: loads the one that scores, for the tokens of that chat format; entropies are wanted, too, where the second
            argument is true. Raises UsageError.
    """

    given: str
    settings: dict[str, Any]
    scorer: str
    title: str
    revision: str
    chat: Callable[[bool], ChatFormat]
    open: Callable[[ChatFormat, bool], TokenScorer]


class ScoringJob:
    """A data set that is to be scored."""

    def __init__(self, prompts: PromptSet, settings: ScoringSettings, model: ScoringModel) -> None:
        """Determine the kind of the rows, which may read the whole data set.

        Args:
            prompts: the rows: conversations, plain texts, or tokens that were prepared for training.
            settings: what of them is scored.
            model: the models.

        Raises:
            UsageError: a column is missing, or a part of the source is damaged.
        """
        schema, column = prompts.source.schema, settings.text_column
        if "answer" in settings.protect and "answer" not in schema.names:
            raise UsageError("`protect` answer needs the column `answer`, which `synth verify` writes")
        self.prompts, self.settings, self.model = prompts, settings, model
        self.shard: Shard | None = None
        self._column = column or (TEXT if has_texts(schema) else None)
        self._plain = column is not None or only_texts(prompts.source)
        self._prepared = column is None and self._plain and prepared_tokens(prompts)
        scored = LABELLED if self._prepared else "all" if self._plain else settings.train_on
        self.name = scorer_name(model.scorer, model.revision, scored)
        """What the column `scorer` will say."""
        self.entropy = settings.entropy or keeps_entropies(prompts, self.name)
        """Whether entropies and ranks are columns: they are wanted, or all rows have them from before."""

    def part(self, shard: Shard | None) -> Self:
        """The job of one shard; of all rows for None.

        Raises:
            UsageError: a mask is over all rows, which no part has.
        """
        if shard is None:
            return self
        if self.settings.mask.needs_corpus:
            raise UsageError(
                "`mask_over` corpus counts over all rows, of which shards and actors of Ray have parts: score without "
                "masks, then mask all rows together, from what that wrote, for which no model is loaded"
            )
        part = copy(self)
        part.shard = shard.over(self.prompts.total)
        return part

    def record(self, mask: Mask) -> RunRecord:
        """The record of a run with that mask that has no rows yet."""
        settings = self.model.settings | {
            "scorer": self.name,
            "text_column": self.settings.text_column,
            "overlong": self.settings.overlong,
            "input": self.prompts.fingerprint,
        }
        if mask.masks:
            settings |= {"mask": mask.which, "mask_above": mask.above, "mask_hardest": mask.hardest}
            settings |= {"mask_over": mask.over, "seed": mask.seed, "protect": sorted(self.settings.protect)}
            settings |= {} if mask.conflicts is None else {"mask_confident_conflicts": mask.conflicts}
        if self.entropy:
            settings["entropy"] = True
        source = self.prompts.source.source
        return RunRecord(
            "score-tokens",
            settings,
            self.model.given,
            versions("transformers", "torch"),
            source=source,
            shard=self.shard.record() if self.shard else None,
        )

    def scores(self) -> TokenScores:
        """The rows, to be scored by a model that is not loaded yet.

        Raises:
            UsageError: the model's chat format cannot be read, or the one that scores has another tokenizer.
        """
        settings, chat = self.settings, self.model.chat(self._plain)
        encoder = RowEncoder(chat, settings.train_on, settings.protect, settings.overlong)
        texts_alone = settings.text_column is not None
        prompts = self.prompts.part(self.shard)
        return TokenScores(prompts, encoder, None, self.name, self._column, texts_alone, self._prepared, self.entropy)
