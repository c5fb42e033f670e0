"""The KL divergence of models from the first one, along its answers to the new suites."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.engines.loading import remote_code
from synth.errors import RequestError
from synth.evaluation.scores import Results
from synth.generation.models import Model
from synth.progress import Progress


def add_divergences(
    results: list[Results], models: Mapping[str, Model], records: Iterable[Mapping[str, Any]], progress: Progress
) -> None:
    """Set `divergence` of all results but the first: nats a token.

    Args:
        results: of the reference model, and of others.
        models: the models, by the names in `results`.
        records: the reference model's answers.
        progress: is told what is left out.

    Raises:
        UsageError: a model cannot be loaded.
        RunError: one answer does not fit in memory.
    """
    reference = results[0].name
    sequences, wanted = _sequences(models[reference], reference, records, progress)
    if not sequences:
        progress.say(f"no KL: {reference} gave no answer to a new suite that can be scored")
        return
    from synth.scoring.divergence import forward_divergences

    progress.say(f"KL from {reference} along {len(sequences):,} of its answers")
    before = _weights(models[reference])
    for result in results[1:]:
        means = forward_divergences(before, _weights(models[result.name]), sequences, wanted)
        result.divergence = sum(means) / len(means)


def _sequences(
    model: Model, name: str, records: Iterable[Mapping[str, Any]], progress: Progress
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.bool_]]]:
    """The tokens of the conversations that end in an answer to a new suite, and which of them are the answer's."""
    sequences, wanted = [], []
    left_out = Counter[str]()
    for record in records:
        if not record["new"] or not record["tokens"]:
            continue
        mode = record.get("mode")
        chat = model.chat.in_mode(mode) if mode else model.chat
        try:
            drawn = record.get("drawn")
            encoded = chat.last_answer(record["messages"], drawn[-1] if drawn else None)
        except RequestError as error:
            left_out[str(error).split(":", 1)[0]] += 1
            continue
        places = np.arange(len(encoded.input_ids))
        start, end = encoded.spans[-1]
        sequences.append(np.array(encoded.input_ids, np.int32))
        wanted.append((places >= start) & (places < end))
    for reason, count in left_out.items():
        progress.say(f"{count:,} answers of {name} are left out of the KL: {reason}")
    return sequences, wanted


def _weights(model: Model) -> Any:
    from synth.engines.hf.engine import load_model

    with remote_code(allowed=model.trust_remote_code):
        return load_model(model.name, model.options)
