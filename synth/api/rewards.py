"""`synth.rewards`: verifiers and measures as a reward function for reinforcement learning."""

from collections.abc import Sequence

from filters.verdict import VerifierSettings
from synth.generation.models import Model, ModelName
from synth.rl.parts import GivenPart, Means
from synth.rl.reward import Reward, reward_of
from synth.values import Mebibytes, Processes, Seconds, checked


@checked
def rewards(
    *parts: GivenPart,
    weights: Sequence[float] | None = None,
    name: str | None = None,
    model: Model | ModelName | None = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    reference_model: Model | ModelName | None = None,
    reference_column: str | None = None,
    time_limit: Seconds = 10.0,
    memory_limit: Mebibytes = 1024,
    workers: Processes | None = None,
) -> Reward:
    """A reward function of verifiers and measures, as TRL's trainers take it: `reward_funcs=synth.rewards("math")`.

    The reward of a completion is the weighted sum of its parts. A verifier by name, `module:function` or a function as
    `synth.verify` takes it gives 1 for right and 0 for wrong; "verifier" is whichever verifier each row names. "format"
    is 1 where the verifier beside it finds an answer, right or wrong, and 0 where it finds none: so a wrong form weighs
    apart from a wrong answer. "format:PATTERN" is 1 where a regular expression is found in the whole completion,
    thoughts included.

    "length:target=200" and "length:max=512" are 0 where kept and -1 at twice as much, "length" alone is the number of
    tokens itself; with `unit=characters` or `unit=words` where a trainer gives no tokens. "language:en,de" is 1, or 0
    for another language. "repetition" is the share of repeated word 5-grams, below zero. "logprob" is the
    log-probability of the completion's tokens under `reference_model`, in nats: with a small positive weight it keeps a
    policy near that model.

    Where no verifier can judge a completion, or another part has no number for it, its reward is None, which such
    trainers leave out. Verifiers run in worker
    processes, each check under its time limit, programs in a sandbox: one that hangs holds up no other. They look for
    references, tests and choices in the columns of the data set, by the names that `synth.verify` knows; where there is
    no `reference`, it is the first of `answer`, `ground_truth`, `solution`, `target` and others that is there.

    Args:
        parts: what is rewarded; none is `verifier`.
        weights: of the parts, in their order; 1 each by default.
        name: what trainers call it; by default the parts' names.
        model: the model in training, where its chat template opens the thoughts of an answer and prompts are messages,
            which do not show it: completions are read by their tokens then, and thoughts that were cut off hold no
            answer.
        judge: the model that judges, where a part is judge.
        judge_prompt: the file of a prompt of your own, where a part is judge.
        reference_model: the model whose log-probabilities count, where a part is logprob.
        reference_column: the column with the human answer, if it is not recognised.
        time_limit: seconds that one check may take.
        memory_limit: MiB that one program may use.
        workers: processes of each verifier; by default the CPUs, shared by the processes of a training on this machine
            (`LOCAL_WORLD_SIZE`).

    Raises:
        UsageError: there is no such part, or it cannot work with these settings, or here.
    """
    judges, scores = _model(judge), _model(reference_model)
    owned = tuple(one for one in (judges, scores) if one is not None and one not in (judge, reference_model))
    limits = VerifierSettings("", time_limit, memory_limit)
    means = Means(limits, workers, judges, judge_prompt, scores, owned)
    return reward_of(parts, means, weights, name, reference_column, _model(model))


def _model(given: Model | ModelName | None) -> Model | None:
    return given if isinstance(given, Model) or given is None else Model(given)
