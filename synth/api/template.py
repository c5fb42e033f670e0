"""`synth.template`: what a model is fed, as derived from its chat template."""

from synth.api.models import used
from synth.chat.summary import ChatTemplate, summarise
from synth.generation.models import Model, ModelName


def template(model: Model | ModelName, *, system: str | None = None) -> ChatTemplate:
    """What is derived from a model's chat template, to the character and the token; its weights are not loaded.

    What precedes a question (there Magpie samples), what ends a question and an answer, what asks for an answer, and
    which tokens of a conversation are trained on.

    Args:
        model: the model, by name or from `synth.load`, which takes a `prefix` and a `stop` in place of a template's.
        system: a system message before the question, instead of the template's own.

    Raises:
        UsageError: there is no such model, its chat template cannot be used, or it takes no system message.
    """
    with used(model) as named:
        return summarise(named.name, named.chat, system)
