"""A model that runs use, and what they ask of it.

It is loaded when a run first needs its weights; errors in its configuration or its tokenizer are raised at once.
"""

import copy
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from synth.chat.derive import format_for, format_for_texts
from synth.chat.format import ChatFormat
from synth.engines.adapters import adapter_for, doubt_of
from synth.engines.base import Engine, EngineOptions
from synth.engines.loading import load_config, load_tokenizer, locate, remote_code, window_of
from synth.engines.open import (
    SCORES_HERE,
    EngineChoice,
    check_options,
    choose_engine,
    engine_choice,
    engine_entry,
    fingerprint,
    model_revision,
    open_engine,
    shared_memory,
    shown,
)
from synth.errors import UsageError
from synth.generation.asking import Asking
from synth.generation.chat_model import NOT_OPEN, ChatModel
from synth.generation.running import Running
from synth.progress import SILENT, Progress, clock

_ADDRESS = re.compile(r"@(https?://.*)$")
ModelName = str | os.PathLike[str]
"""A directory or a Hub id; MODEL@URL is a model on a server."""


class Model:
    """A model that runs use; a context manager, which frees it at its end.

    It is loaded when a run first needs its weights, and stays until it is closed, so that several runs share it.
    """

    def __init__(
        self,
        name: ModelName,
        *,
        engine: str | Sequence[str] = "auto",
        prefix: str | None = None,
        stop: str | None = None,
        options: EngineOptions | None = None,
        trust_remote_code: bool = False,
        asking: Asking | None = None,
    ) -> None:
        """Check the settings that can be checked before anything of a model is loaded.

        Args:
            name: a directory or a Hub id; or MODEL@URL, which is a model on a server.
            engine: one of `synth.engines.open.WAYS`, a file of servers' addresses, or several of them.
            prefix: what precedes a user message, instead of what the chat template says.
            stop: what ends a user message, with `prefix`.
            options: how it is run; with an adapter, which may be the name of one on the Hub.
            trust_remote_code: whether code that comes with it may run.
            asking: with which template arguments, and whether it is to think.

        Raises:
            UsageError: there is no such model or engine, its window is smaller than the one asked for, or the adapter
                or an argument is none of its engine's.
        """
        self.given = os.fspath(name)
        """MODEL or MODEL@URL."""
        address = _ADDRESS.search(self.given)
        self.name = self.given[: address.start()] if address else self.given
        self._asked = engine_choice(engine)
        self.engine = address[1] if address else self._asked
        self.kind, self._why = choose_engine(self.engine)
        self.runs_in = engine_entry(self.kind)
        self.options = options or EngineOptions()
        adapted = "" if self.options.adapter is None else f" + {self.options.adapter}"
        self.title = self.given + adapted
        """What runs call it: MODEL or MODEL@URL, and its adapter."""
        self._of_rows = self.name + adapted
        self.prefix, self.stop = prefix, stop
        self.asking = asking or Asking()
        self.trust_remote_code = trust_remote_code
        locate(self.name)
        with remote_code(allowed=trust_remote_code):
            self._check_window()
            if self.options.adapter is not None and self.runs_in.here:
                self.options = replace(self.options, adapter=adapter_for(self.options.adapter, self.name))
        check_options(self.kind, self.options)
        self._running = Running()

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer, for what needs no chat template.

        Raises:
            UsageError: it has none.
        """
        with remote_code(allowed=self.trust_remote_code):
            return load_tokenizer(self.name)

    @cached_property
    def chat(self) -> ChatFormat:
        """Its chat format; scoring plain texts does not need one.

        Raises:
            UsageError: it has no tokenizer, or its chat template cannot be used.
        """
        with remote_code(allowed=self.trust_remote_code):
            return format_for(self.name, prefix=self.prefix, stop=self.stop, args=self.asking.template_args)

    def _check_window(self) -> None:
        wanted = self.options.max_length
        if not self.runs_in.here or wanted is None:
            return
        longest = window_of(load_config(self.name))
        if longest is not None and wanted > longest:
            raise UsageError(f"`max_length` {wanted:,}: the window of {self.name} holds {longest:,} tokens")

    def other(self, name: ModelName, *, prefix: str | None = None, stop: str | None = None) -> "Model":
        """Another model for a role beside this one, run with the same options; this one itself if it has that name.

        An adapter is of this model alone; arguments of its engine, and on how many GPUs it runs, are not for a server.

        Args:
            name: MODEL or MODEL@URL.
            prefix: what precedes a user message to it, as in `Model`.
            stop: what ends one, as in `Model`.

        Raises:
            UsageError: as for `Model`.
        """
        if self.is_called(name):
            return self.written(prefix, stop) if prefix is not None else self
        options = replace(self.options, adapter=None)
        if _ADDRESS.search(os.fspath(name)):
            options = replace(options.single(), engine_args={})
        return self._again(name, prefix=prefix, stop=stop, options=options, asking=None)

    def with_adapter(self, adapter: str) -> "Model":
        """This model with an adapter as `synth.load` takes it, loaded apart from this one.

        Raises:
            UsageError: there is no such adapter, or it does not fit this model.
        """
        return self._again(self.given, options=replace(self.options, adapter=adapter))

    def retrained(self, name: ModelName) -> "Model":
        """What training made of this model, run as this one is; an adapter of it is merged in by then.

        Raises:
            UsageError: there is no such model.
        """
        return self._again(name, options=replace(self.options, adapter=None))

    def is_called(self, name: ModelName) -> bool:
        """Whether a name alone means this model: with an adapter it is another than the one of that name."""
        return os.fspath(name) == self.given and self.options.adapter is None

    def _again(self, name: ModelName, **changed: Any) -> "Model":
        """A model with the settings of this one, apart from those changed."""
        return Model(name, **self._settings() | changed)

    def _settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {"engine": self._asked, "prefix": self.prefix, "stop": self.stop}
        return found | {"options": self.options, "trust_remote_code": self.trust_remote_code, "asking": self.asking}

    def description(self) -> "partial[Model]":
        """A call that makes the same model in another process; it can be pickled, as a started engine cannot."""
        return partial(Model, self.given, **self._settings())

    def written(self, prefix: str | None, stop: str | None) -> "Model":
        """This model with another `prefix` and `stop`, sharing its weights."""
        if (prefix, stop) == (self.prefix, self.stop):
            return self
        model = copy.copy(self)
        model.prefix, model.stop = prefix, stop
        model.__dict__.pop("chat", None)
        return model

    def of_texts(self) -> "Model":
        """This model where no conversation is written, for which it needs no chat template; shares its weights.

        Raises:
            UsageError: it has no tokenizer that can be used.
        """
        model = copy.copy(self)
        with remote_code(allowed=self.trust_remote_code):
            model.__dict__["chat"] = format_for_texts(self.name, prefix=self.prefix, stop=self.stop)
        return model

    def shares_weights(self, other: "Model") -> bool:
        """Whether the two share one model in memory."""
        return self._running is other._running

    def run_in(self, engine: str) -> "Model":
        """This model in an engine of that kind: itself where it runs there, else loaded once more."""
        if self.kind == engine:
            return self
        return self._again(self.name, engine=engine, options=replace(self.options.single(), engine_args={}))

    def that_scores(self, why: str) -> "Model":
        """This model in an engine that scores texts: itself, or, where nothing else was asked for, loaded once more.

        Args:
            why: what needs that, for the message.

        Raises:
            UsageError: an engine was asked for that does not.
        """
        if self.runs_in.scores:
            return self
        if self.engine != "auto":
            fault = f"{self.kind} in process does not score texts; leave `engine` at auto, or name a server"
            raise UsageError(f"{why}: {fault}")
        return self.run_in(SCORES_HERE)

    def record(self) -> dict[str, Any]:
        """The settings of it that determine rows, for `run.json`."""
        revision, adapter = model_revision(self.name), self.options.adapter
        settings: dict[str, Any] = {"engine": self.kind, **self.asking.record()}
        if adapter is not None:
            settings["adapter"] = fingerprint(Path(adapter)) if self.runs_in.here else adapter
            revision += f"+{settings['adapter']}"  # as rows' ids and scores are told apart by it
        if self.options.engine_args:
            settings["engine_args"] = dict(self.options.engine_args)
        return {"revision": revision, **settings}

    def unopened(self) -> ChatModel:
        """The model without an engine, to check settings with."""
        return ChatModel(NOT_OPEN, self.chat, self._of_rows, thought_tokens=self.asking.thought_tokens)

    async def opened(self, progress: Progress = SILENT, models: int = 1, *, scores: bool = False) -> ChatModel:
        """The model with its engine, which is started now unless it is running.

        Args:
            progress: is told what is loaded.
            models: how many share this machine's GPU meanwhile.
            scores: whether given texts are to be scored, too, which not every engine does.

        Raises:
            UsageError: the engine or the model cannot be loaded.
        """
        with remote_code(allowed=self.trust_remote_code):
            started = self._running
            if started.engine is None:
                if self.runs_in.here and (doubt := doubt_of(self.options.adapter, self.name)):
                    progress.say(doubt)
                started.engine = await self._start(self.engine, self.kind, self._why, progress, models)
            if scores and not self.runs_in.scores and started.scorer is None:
                progress.say(f"{self.kind} in process does not score texts: the model is loaded once more, to do that")
                started.scorer = await self._start(SCORES_HERE, SCORES_HERE, "to score texts", progress, models)
        thought_tokens = self.asking.thought_tokens
        return ChatModel(started.engine, self.chat, self._of_rows, started.scorer, thought_tokens=thought_tokens)

    async def _start(self, address: EngineChoice, kind: str, why: str, progress: Progress, models: int) -> Engine:
        options = replace(self.options, say=progress.say)
        if engine_entry(kind).reserves_memory and models > 1 and options.gpu_memory is None:
            options = replace(options, gpu_memory=shared_memory(models))
            why += f"; {options.gpu_memory:.0%} of a GPU's memory, as {models} models share it: `gpu_memory`"
        progress.say(f"engine {kind} ({why}); loading {self._of_rows}")
        began = time.monotonic()
        engine = await open_engine(address, self.name, self.chat.tokenizer, options)
        progress.say(f"{engine.description}, ready in {clock(time.monotonic() - began)}")
        return engine

    @property
    def running(self) -> Engine | None:
        """Its engine, where it is started."""
        return self._running.engine

    def close(self) -> None:
        """Free its memory. A run that needs it again loads it again."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<synth model {self.name} ({shown(self.engine)})>"
