"""The participants of a run: models by role (`model`, and perhaps an `editor`, a `judge` or a teacher), and a verifier.

`Roles` is what a run asks for; `OpenRoles` is what its method gets.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.generation.chat_model import NOT_OPEN, ChatModel
from synth.generation.judge import JUDGE_PLACES, Judge
from synth.generation.models import Model
from synth.generation.prompt_files import load_prompt
from synth.generation.verification import Verifier
from synth.progress import Progress


@dataclass(frozen=True, slots=True)
class OpenRoles:
    """The participants of a run: models by role, and the verifier.

    Before a model is loaded, while settings are checked, chat models have no engine and there is no verifier.
    """

    chat_models: dict[str, ChatModel]
    checks: Verifier | None = None

    @property
    def verifier(self) -> Verifier:
        """The verifier of a run that has one: `NOT_OPEN` before it is started."""
        return self.checks or NOT_OPEN

    @property
    def chat_model(self) -> ChatModel:
        """The model in the role of `model`."""
        return self.chat_models["model"]

    def with_model(self, chat_model: ChatModel) -> Self:
        """The same roles with another format or mode of the model."""
        return replace(self, chat_models=self.chat_models | {"model": chat_model})

    def role(self, name: str) -> ChatModel:
        """The model in a role; the main model where no other was named."""
        return self.chat_models.get(name) or self.chat_model


@dataclass(frozen=True, slots=True)
class Roles:
    """Which models and verifier a run asks for.

    Attributes:
        models: by role: `model` and others.
        verifier: which verifier judges, or None.
        judge_prompt: the judge's prompt, where the verifier is `judge`.
        scores: whether the model also scores given texts.
        beside: how many other models are on the same GPU meanwhile.
    """

    models: dict[str, Model]
    verifier: VerifierSettings | None = None
    judge_prompt: str = "judge"
    scores: bool = False
    beside: int = 0

    def unopened(self) -> OpenRoles:
        """The roles before anything is loaded.

        Raises:
            UsageError: the judge's prompt cannot be used.
        """
        roles = OpenRoles({role: model.unopened() for role, model in self.models.items()})
        if self.has_judge:
            Judge(roles.role("judge"), self.judge_prompt)
        return roles

    def record(self) -> dict[str, Any]:
        """The settings that determine rows, for `run.json`: models' weights, kind of engine, its options, verifier."""
        settings: dict[str, Any] = {}
        if self.verifier is not None:
            values = asdict(self.verifier).items()
            settings["verifier"] = {name: value for name, value in values if value is not None and name != "function"}
        if self.has_judge:
            settings["judge_prompt"] = load_prompt(self.judge_prompt, set(), JUDGE_PLACES)
        main = next(iter(self.models.values()), None)
        if main is not None:
            settings |= {"prefix": main.prefix, "stop": main.stop}
            settings |= {"dtype": main.options.dtype, "max_length": main.options.max_length}
        for role, model in self.models.items():
            settings |= model.record() if role == "model" else {role: {"model": model.name, **model.record()}}
        return settings

    def packages(self) -> list[str]:
        """The packages that will run the models."""
        entries = {model.kind: model.runs_in for model in self.models.values()}
        return [package for kind in sorted(entries) for package in entries[kind].packages]

    def models_here(self) -> int:
        """How many models are in this machine's memory at the same time."""
        here: list[Model] = []
        for model in self.models.values():
            if model.runs_in.here and not any(map(model.shares_weights, here)):
                here.append(model)
        again = self.scores and not self.models["model"].runs_in.scores
        return len(here) + again + self.beside

    def devices(self) -> int:
        """GPUs, or engines on a CPU, that are taken here; models share them."""
        here = [model.options for model in self.models.values() if model.runs_in.here]
        return max((options.tensor_parallel * options.data_parallel for options in here), default=1)

    async def opened(self, verifier: Verifier | None, progress: Progress) -> OpenRoles:
        """The models loaded, each once, whatever the roles it plays.

        Args:
            verifier: the verifier, opened; None where there is none, or a model judges.
            progress: is told what is loaded.

        Raises:
            UsageError: an engine or a model cannot be loaded.
        """
        models = self.models_here()
        chat_models = {
            role: await model.opened(progress, models, scores=self.scores and role == "model")
            for role, model in self.models.items()
        }
        roles = OpenRoles(chat_models, verifier)
        return replace(roles, checks=Judge(roles.role("judge"), self.judge_prompt)) if self.has_judge else roles

    @property
    def has_judge(self) -> bool:
        """Whether a model is the verifier."""
        return self.verifier is not None and entry_of(self.verifier.name).asks_model
