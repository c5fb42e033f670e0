"""What a run works with: models by their part, the verifier, the rows; named by options, opened the cheap first."""

import re
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

from cli.progress import clock, say
from filters.verdict import VerifierSettings
from filters.verifiers import registry
from synth.chat.format import format_for
from synth.data.plain import open_rows_or_texts
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.engines.base import Engine, EngineOptions
from synth.engines.loading import load_config, window_of
from synth.engines.open import choose_engine, engine_entry, model_revision, open_engine, shared_memory
from synth.errors import UsageError
from synth.generation.chat_model import NOT_OPEN, ChatModel
from synth.generation.judge import JUDGE_PLACES, Judge
from synth.generation.prompt_files import load_prompt
from synth.generation.verification import Verifier, check_references, open_verifier
from synth.small_text import read_small

FIRST = 200
"""References that are checked before a model is loaded."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part in a run: the model, other models by their part (`judge`, `editor`, …), and the verifier.

    Before a model is loaded, while settings are checked, speakers have no engine and there is no verifier.
    """

    chat_models: dict[str, ChatModel]
    verifier: Verifier | None = None

    @property
    def referee(self) -> Verifier:
        """The verifier of a command that has one: `NOT_OPEN` before it is started."""
        return self.verifier or NOT_OPEN

    @property
    def chat_model(self) -> ChatModel:
        """The model of `--model`."""
        return self.chat_models["model"]

    def part(self, name: str) -> ChatModel:
        """Who plays a part; the model itself where no other was named."""
        return self.chat_models.get(name) or self.chat_model


@dataclass(frozen=True, slots=True)
class Casting:
    """Which models and verifier a command asks for.

    Attributes:
        models: who plays which part, as MODEL or MODEL@URL: `model` and others.
        verifier: which verifier judges, or None.
        judge_prompt: the judge's prompt, where the verifier is one.
        given: the options of `engine_options`.
        scores: whether the model also scores given texts, which vLLM in process does not.
        beside: how many other models are on the same GPU meanwhile.
    """

    models: dict[str, str]
    given: dict[str, Any]
    verifier: VerifierSettings | None = None
    judge_prompt: str = "judge"
    scores: bool = False
    beside: int = 0

    def named(self) -> Cast:
        """The cast before anything is loaded.

        Raises:
            UsageError: a model's chat template cannot be used, or the judge's prompt cannot.
        """
        cast = Cast({part: self._chat_model(part, name) for part, name in self.models.items()})
        if self._has_judge:
            Judge(cast.part("judge"), self.judge_prompt)
        return cast

    def settings(self) -> dict[str, Any]:
        """What is recorded: rows differ with the models' weights, the kind of engine and how it is run."""
        settings: dict[str, Any] = {}
        if self.verifier is not None:
            values = asdict(self.verifier).items()
            settings["verifier"] = {key: value for key, value in values if value is not None}
        if self._has_judge:
            settings["judge_prompt"] = load_prompt(self.judge_prompt, set(), JUDGE_PLACES)
        if self.models:
            settings |= {name: self.given[name] for name in ("prefix", "stop", "dtype", "max_length")}
        for part, name in self.models.items():
            found = {"revision": model_revision(_name(name)), "engine": self._kind(name)}
            settings |= found if part == "model" else {part: {"model": _name(name), **found}}
        return settings

    def packages(self) -> list[str]:
        """The packages that will run the models."""
        kinds = sorted({self._kind(name) for name in self.models.values()})
        return [package for kind in kinds for package in engine_entry(kind).packages]

    async def open(self, stack: AsyncExitStack, tasks: PromptSet | None, quiet: bool) -> Cast:
        """Open it all: the verifier, a look at the references, then the models. The stack closes it.

        Raises:
            UsageError: something cannot be had, or the verifier takes no reference for right.
        """
        verifier: Verifier | None = None
        if self.verifier is not None and not self._has_judge:
            verifier = await open_verifier(self.verifier)
            stack.push_async_callback(verifier.close)
            if tasks is not None:
                await _look_at_references(verifier, tasks, quiet)
        cast = Cast(await self._chat_models(stack, quiet), verifier)
        return replace(cast, verifier=Judge(cast.part("judge"), self.judge_prompt)) if self._has_judge else cast

    async def _chat_models(self, stack: AsyncExitStack, quiet: bool) -> dict[str, ChatModel]:
        """The models, each loaded once, whatever the parts it plays."""
        chat_models = {}
        engines: dict[str, Engine] = {}
        for part, chat_model in self.named().chat_models.items():
            name = self.models[part]
            if name not in engines:
                engines[name] = await self._engine(stack, self.engine(part), chat_model, quiet)
            chat_models[part] = replace(chat_model, engine=engines[name])
        if self.scores and not engine_entry(self._kind(self.models["model"])).scores:
            say("vLLM in process does not score texts: the model is loaded once more, to do that", quiet)
            own = chat_models["model"]
            scorer = await self._engine(stack, "transformers", own, quiet)
            chat_models["model"] = replace(own, scorer=scorer)
        return chat_models

    async def _engine(self, stack: AsyncExitStack, address: str, chat_model: ChatModel, quiet: bool) -> Engine:
        """Open one engine; what it is and why is said, and what share of a GPU it takes where others are on it."""
        kind, why = choose_engine(address)
        options = engine_settings(self.given)
        models = self.models_here()
        if engine_entry(kind).reserves_memory and models > 1 and self.given.get("gpu_memory") is None:
            options = replace(options, gpu_memory=shared_memory(models))
            why += f"; {options.gpu_memory:.0%} of a GPU's memory, as {models} models share it: --gpu-memory"
        say(f"engine {kind} ({why}); loading {chat_model.name}", quiet)
        began = time.monotonic()
        engine = await open_engine(address, chat_model.name, chat_model.chat.tokenizer, options)
        stack.push_async_callback(engine.close)
        say(f"{engine.description}, ready in {clock(time.monotonic() - began)}", quiet)
        return engine

    def models_here(self) -> int:
        """How many models are in this machine's memory at the same time."""
        here = {name for name in self.models.values() if engine_entry(self._kind(name)).here}
        again = self.scores and not engine_entry(self._kind(self.models["model"])).scores
        return len(here) + again + self.beside

    @property
    def _has_judge(self) -> bool:
        return self.verifier is not None and registry.entry_of(self.verifier.name).asks_model

    def engine(self, part: str) -> str:
        """The `--engine` value for who plays a part: the server of MODEL@URL, or what was given."""
        return _address(self.models[part]) or str(self.given["engine"])

    def _kind(self, name: str) -> str:
        return choose_engine(_address(name) or self.given["engine"])[0]

    def _chat_model(self, part: str, name: str) -> ChatModel:
        """A model by its part, its engine not yet open. A prefix and a stop of the user's are for `--model` alone."""
        model = _name(name)
        if engine_entry(self._kind(name)).here:
            longest, wanted = window_of(load_config(model)), self.given.get("max_length")  # before an engine is started
            if longest is not None and wanted is not None and wanted > longest:
                raise UsageError(f"--max-length {wanted:,}: the window of {model} holds {longest:,} tokens")
        if part == "model":
            chat = format_for(model, prefix=self.given["prefix"], stop=self.given["stop"])
        else:
            chat = format_for(model)
        return ChatModel(NOT_OPEN, chat, model)


def engine_settings(given: dict[str, Any]) -> EngineOptions:
    """The options of `engine_options` as an engine takes them."""
    known = {item.name for item in fields(EngineOptions)}
    return EngineOptions(**{name: value for name, value in given.items() if name in known and value is not None})


def _name(model: str) -> str:
    """The model of MODEL or MODEL@URL."""
    return re.sub(r"@https?://.*$", "", model)


def _address(model: str) -> str | None:
    """The server of MODEL@URL."""
    found = re.search(r"@(https?://.*)$", model)
    return found[1] if found else None


async def _look_at_references(verifier: Verifier, tasks: PromptSet, quiet: bool) -> None:
    """Check the first references with their own verifier, before any time is spent on a model."""
    report = await check_references(verifier, islice(tasks.tasks(), FIRST))
    say(report.told(verifier.name), quiet)


def verifier_settings(given: dict[str, Any]) -> VerifierSettings | None:
    """The verifier that the options of `verifier_options` name.

    Raises:
        UsageError: there is no such verifier, or its schema cannot be read.
    """
    name: str | None = given["verifier"]
    if name is None:
        return None
    if name not in registry.VERIFIERS and ":" not in name:
        raise UsageError(f"--verifier {name}: {registry.unknown(name)}")
    schema = None
    if given["schema"] is not None:
        try:
            schema = read_small(given["schema"])
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--schema {given['schema']} cannot be read: {error}") from error
    return VerifierSettings(
        name,
        time_limit=given["time_limit"],
        memory_limit=given["memory_limit"],
        language=given["language"],
        schema=schema,
        pattern=given["pattern"],
        unsafe_no_sandbox=given["unsafe_no_sandbox"],
    )


def tasks_of(given: dict[str, Any], *, texts: bool = False) -> PromptSet:
    """The rows that the options of `input_options` name, read once; what was recognised is said.

    Args:
        given: the options.
        texts: whether the command works on plain texts, too.

    Raises:
        UsageError: they cannot be read, or there are none.
    """
    opener = open_rows_or_texts if texts else open_rows
    rows = opener(given["source"], prompt_column=given["prompt_column"], reference_column=given["reference_column"])
    tasks = open_prompts(rows, given["limit"])
    for note in rows.notes:
        say(note, given["quiet"])
    if not tasks.total:
        raise UsageError(f"{rows.source} has no rows")
    return tasks
