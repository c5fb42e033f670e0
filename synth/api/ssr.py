"""`synth.ssr`: new examples of an old task from a few that were kept."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.curation.embeddings import check_embedder
from synth.data.destination import INPUTS
from synth.data.output import Output
from synth.engines.base import Sampling
from synth.engines.loading import remote_code
from synth.errors import UsageError, no_preview
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.roles import Roles
from synth.methods.ssr import COLUMNS, SsrSettings, kept_examples
from synth.methods.ssr_runs import answer_inputs, choose_inputs, write_inputs
from synth.progress import Progress
from synth.values import Count, Limit, Rows, Seed, Temperature, Tokens, TopP, checked

CANDIDATES = 5
"""Inputs written for each row wanted, about as many as in the paper."""


@checked
def ssr(
    model: Model | ModelName,
    source: Source,
    *,
    rows: Rows,
    output: Place = None,
    input_model: Model | ModelName | None = None,
    candidates: Rows | None = None,
    clusters: Count = 20,
    embed: str | None = None,
    seed: Seed = 0,
    temperature: Temperature = 0.9,
    top_p: TopP = 0.6,
    question_tokens: Tokens = 512,
    max_tokens: Tokens = 2048,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Make rehearsal data of an old task from a few kept examples (SSR, arXiv 2403.01244).

    A model writes further inputs; they are grouped by what they are about, each group is represented in proportion,
    and the model answers these itself.

    Args:
        model: the model, by name or from `synth.load`.
        source: the kept examples, questions with answers; some 20 are enough.
        rows: rows wanted, after rejection.
        output: where they go, all inputs beside them in OUTPUT.inputs; an interrupted run there is continued.
        input_model: another model that writes the inputs, such as the base model. By name, it is run like `model`, and
            the prefix and stop that `model` was loaded with are for it alone.
        candidates: inputs to choose among; 5 for each row by default.
        clusters: groups of like inputs.
        embed: what inputs are compared by: sentence-transformers:MODEL, model2vec:MODEL, or a model whose hidden states
            are taken; `model` by default.
        seed: decides every draw of the run.
        temperature: of inputs; answers are greedy.
        top_p: of inputs.
        question_tokens: most tokens of an input.
        max_tokens: most tokens of an answer.
        prompt_column: the column with the question, if it is not recognised.
        reference_column: the column with the answer, likewise.
        limit: rows of the source to take.
        shard: write a part of the inputs alone, as I/N (1/8 … 8/8), each into a directory of its own. `synth.join`
            makes OUTPUT.inputs of all, which a call without `shard` selects from and answers.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the examples; no model was loaded.
        RunError: too few inputs or answers can be used, or the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    candidates = candidates or CANDIDATES * rows
    if candidates < rows:
        raise UsageError(f"`candidates` {candidates}: there must be at least as many as the {rows} rows wanted")
    settings = SsrSettings(
        seed=seed,
        clusters=clusters,
        question=Sampling(max_tokens=question_tokens, temperature=temperature, top_p=top_p),
        answer=Sampling(max_tokens=max_tokens, temperature=0.0),
    )
    place = output_at(output, restart=restart, shard=shard)
    if place.first is not None:
        raise no_preview("rows are chosen among all inputs, so there is none of this run. Try it with few `rows`")
    with ExitStack() as stack:
        name = stack.enter_context(source_at(source))
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        examples = kept_examples(prompts.rows("ssr", {}, COLUMNS)(0))
        main = stack.enter_context(used(model))
        answerer = main if input_model is None or isinstance(input_model, Model) else main.written(None, None)
        answerer.unopened()  # what cannot work is found before inputs are written
        with remote_code(allowed=main.trust_remote_code):
            check_embedder(embed or main.name)
        if place.path is None:
            folder = str(Path(stack.enter_context(tempfile.TemporaryDirectory()), f"rows{INPUTS}"))
        else:
            folder = str(place.beside(INPUTS))
        inputs = place if place.shard else Output(folder, restart=restart)
        with used(main, instead=input_model) as writer:
            # Where one model writes and answers it stays open, and one that embeds needs room beside it.
            beside = int(writer.shares_weights(answerer) and embed is None)
            write_inputs(
                examples,
                settings,
                Roles({"model": writer}, beside=beside),
                inputs,
                source=prompts.fingerprint,
                candidates=candidates,
                least=0 if place.shard else rows,
                progress=progress,
            )
        if place.shard:
            return Dataset(str(place.path), keep=place.keep)
        chosen = choose_inputs(folder, answerer, embed, settings)
        roles = Roles({"model": answerer}, beside=beside)
        record = answer_inputs(chosen, settings, roles, place, embed=embed, wanted=rows, progress=progress)
        return Dataset.of(place, record)
