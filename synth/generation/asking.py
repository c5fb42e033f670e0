"""How a model is asked: with which arguments of its chat template, and whether it is to think before it answers.

Rows of one run may be asked in both modes, so that what is trained on keeps both. Which mode a row has depends on the
seed and its id alone.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from synth.chat.thinking import Mode
from synth.data.row import ANSWERED, Outcome, Row
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import ChatModel
from synth.seeds import seed_of
from synth.values import Asked


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model is asked.

    Attributes:
        template_args: variables of its chat template (`reasoning_effort`, …).
        mode: whether it is to think, where its template has a switch; None leaves it to the template.
        thinking_share: with `both`, the share of rows in which it thinks.
        thought_tokens: most tokens of its thoughts, beside those of the answer; None lets them share `max_tokens`.
    """

    template_args: Mapping[str, Any] = field(default_factory=dict)
    mode: Asked | None = None
    thinking_share: float = 0.5
    thought_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is unknown or out of its range.
        """
        if self.mode not in (None, *get_args(Asked)):
            raise UsageError(f"`mode` {self.mode} is unknown; there are {', '.join(get_args(Asked))}")
        if not 0 < self.thinking_share < 1:
            raise UsageError(f"`thinking_share` must be between 0 and 1, not {self.thinking_share}")
        if self.thought_tokens is not None and self.thought_tokens < 1:
            raise UsageError(f"`thought_tokens` must be at least 1, not {self.thought_tokens}")
        if "tools" in self.template_args:
            raise UsageError("`template_arg` tools: tools are a column of the rows, or `tools` of magpie")

    def record(self) -> dict[str, Any]:
        """What of it decides rows, for `run.json` and the rows' ids; nothing where nothing was chosen."""
        chosen: dict[str, Any] = {"template_args": dict(self.template_args)} if self.template_args else {}
        if self.mode is not None:
            chosen["mode"] = self.mode
        if self.mode == "both":
            chosen["thinking_share"] = self.thinking_share
        return chosen if self.thought_tokens is None else chosen | {"thought_tokens": self.thought_tokens}

    def modes(self, chat_model: ChatModel) -> dict[Mode | None, ChatModel]:
        """The model in each of the modes that rows are asked in.

        Raises:
            UsageError: its chat template has no such mode.
        """
        if self.mode is None:
            return {None: chat_model}
        wanted: tuple[Mode, ...] = ("thinking", "plain") if self.mode == "both" else (self.mode,)
        return {mode: chat_model.in_mode(mode) for mode in wanted}

    def mode_of(self, row: Row, seed: int) -> Mode | None:
        """The mode in which a row is asked."""
        if self.mode != "both":
            return self.mode
        return "thinking" if random.Random(seed_of(seed, row.id, "mode")).random() < self.thinking_share else "plain"


def by_row(
    asking: Asking, seed: int, chat_model: ChatModel, make: Callable[[ChatModel], Callable[[Row], Any]]
) -> Callable[[Row], Any]:
    """A method that asks each row in its own mode, and offers it its own tools (column `tools`).

    Args:
        asking: in which modes.
        seed: of the run.
        chat_model: the model.
        make: makes the method for the model in one mode.

    Raises:
        UsageError: the model's chat template has no such mode, or `make` refuses it.
    """
    models = asking.modes(chat_model)
    methods = {mode: make(model) for mode, model in models.items()}

    async def method(row: Row) -> Outcome:
        row.passthrough = {name: value for name, value in row.passthrough.items() if name not in ANSWERED}
        mode = asking.mode_of(row, seed)
        chosen = methods[mode]
        if tools := row.passthrough.get("tools"):
            try:
                offered = json.loads(tools)
                model = models[mode]
                chosen = make(model.with_format(model.chat.with_tools(offered)))
            except (ValueError, TypeError) as error:
                return Outcome(row, f"tools that are no JSON: {error}")
            except RequestError as error:
                return Outcome(row, str(error))
        outcome: Outcome = await chosen(row)
        return outcome

    return method
