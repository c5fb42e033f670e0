"""The roles of models in a function whose answers are judged: the model, a judge, others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from filters.verdict import OwnCheck, VerifierSettings
from filters.verifiers.registry import entry_of
from synth.data.prompts import PromptSet
from synth.errors import UsageError
from synth.generation.inputs import verifier_for, verifier_of
from synth.generation.models import Model, ModelName
from synth.generation.roles import Roles

VerifierChoice = str | VerifierSettings | OwnCheck | None
"""A verifier by name or as "module:function"; with its settings; or a function of (response, reference) or (response,
reference, row) that returns whether the response is right, "unscorable", or a `Verdict`."""


@contextmanager
def roles_for(
    model: Model | ModelName | None,
    prompts: PromptSet | None,
    verifier: VerifierChoice,
    *,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    required: bool = True,
    unverified: bool = False,
    **others: Model | ModelName | None,
) -> Iterator[Roles]:
    """The roles of a run over prompts that a verifier judges; models that are given by name are freed at the end.

    Args:
        model: in the role of `model`, or None.
        prompts: what is worked on; its rows may name the verifier. None where rows are made from nothing.
        verifier: what was given.
        judge: the judge, where the verifier is `judge`; the model itself by default.
        judge_prompt: how it is asked.
        required: whether there has to be a verifier.
        unverified: whether "none" may be given, so that there is none although one is required.
        others: models in other roles, or None.

    Raises:
        UsageError: there is no verifier, no judge, or no such model.
    """
    settings = verifier if verifier is None or isinstance(verifier, VerifierSettings) else verifier_of(verifier)
    judging = verifier_for(prompts, settings, required=required, unverified=unverified)
    asked = {"model": model, **others}
    if judging is not None and entry_of(judging.name).asks_model:
        asked["judge"] = judge
        if model is None and judge is None:
            raise UsageError(f"`verifier` {judging.name} needs a model that judges: `judge` MODEL")
    with ExitStack() as stack:
        models: dict[str, Model] = {}
        for role, one in asked.items():
            if isinstance(one, Model):
                models[role] = one
            elif one is not None:
                main = models.get("model")
                named = main.other(one) if main else Model(one)
                models[role] = named if named in models.values() else stack.enter_context(named)
        yield Roles(models, judging, judge_prompt)
