"""`synth.score_tokens`: the log-probability of every token under a model, and which tokens are trained on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypedDict, Unpack, overload

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.chat.derive import format_for_texts
from synth.chat.format import ChatFormat
from synth.engines.adapters import doubt_of
from synth.engines.loading import remote_code
from synth.engines.open import ADDRESS, SCORES_HERE, EngineChoice, shown
from synth.errors import UsageError
from synth.generation.inputs import read_prompts, read_text_column
from synth.generation.models import Model, ModelName
from synth.progress import Progress
from synth.scoring.encoding import Protection
from synth.scoring.job import ScoringJob, ScoringModel, ScoringSettings
from synth.scoring.masks import Mask
from synth.scoring.run import preview_masks, write_scores
from synth.scoring.scorer import NO_ENTROPY, open_scorer
from synth.scoring.thresholds import Preview
from synth.scoring.token_scores import TokenScorer
from synth.values import Count, Limit, NonNegative, Over, Overlong, Seed, Share, TrainOn, checked


class _Settings(TypedDict, total=False):
    """The keyword arguments of `score_tokens` beside `preview`."""

    output: Place
    scorer: Model | ModelName | None
    train_on: TrainOn
    text_column: str | None
    mask_above: float | None
    mask_hardest: float | None
    mask_confident_conflicts: float | None
    mask_easiest: bool
    mask_random: bool
    mask_over: Over
    protect: Protection | Sequence[Protection]
    overlong: Overlong
    entropy: bool
    seed: int
    prompt_column: str | None
    reference_column: str | None
    limit: int | None
    shard: ShardName | None
    ray: str | None
    actors: int | None
    restart: bool
    progress: Progress


@overload
def score_tokens(
    model: Model | ModelName, source: Source, *, preview: Literal[False] = False, **settings: Unpack[_Settings]
) -> Dataset: ...


@overload
def score_tokens(
    model: Model | ModelName, source: Source, *, preview: Literal[True], **settings: Unpack[_Settings]
) -> Preview: ...


@checked
@on_ray
def score_tokens(
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    scorer: Model | ModelName | None = None,
    train_on: TrainOn = "assistant",
    text_column: str | None = None,
    mask_above: NonNegative | None = None,
    mask_hardest: Share | None = None,
    mask_confident_conflicts: Share | None = None,
    mask_easiest: bool = False,
    mask_random: bool = False,
    mask_over: Over = "row",
    protect: Protection | Sequence[Protection] = (),
    overlong: Overlong = "drop",
    entropy: bool = False,
    preview: bool = False,
    seed: Seed = 0,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset | Preview:
    """Score every token under a model, and mask tokens that should not be trained on (STM, arXiv 2501.14315).

    Rows get `input_ids`, `labels` (-100 where nothing is learnt), `logprobs` (nats; None where a token is not scored)
    and `scorer`; with `entropy` also `entropies` (nats) and `ranks`. Rows that the same model has scored are not scored
    again: score once, then choose masks.

    Args:
        model: the model that is to be trained, by name or from `synth.load`. It runs in transformers or on a server; of
            one that runs in vLLM the weights are loaded once more.
        source: conversations, plain texts (a column `text`, and no turns), or rows that `synth.lamol` prepared.
        output: where the rows go; an interrupted run there is continued.
        scorer: another model that scores, with the same tokenizer; by name, it is run like `model`.
        train_on: what of a conversation is scored and trained on: all assistant turns, the last one, or every token.
        text_column: the column with plain texts, if it is not "text".
        mask_above: mask tokens of a perplexity above this; 2.5 in the paper.
        mask_hardest: or mask this share of the scored tokens, the hardest.
        mask_confident_conflicts: mask tokens of which the model is sure that they are another: those both among this
            share of lowest entropy and among this share of lowest probability; 15% in the paper (EAFT, arXiv
            2601.02151). Needs what `entropy` needs.
        mask_easiest: a control: as many tokens, but the easiest.
        mask_random: a control: as many tokens, at random.
        mask_over: count shares and controls in each row, or over all rows together.
        protect: never mask the tokens that end a turn (end-of-turn), or those of the row's `answer` (from
            `synth.verify`), or both.
        overlong: rows longer than the window: rejected, cut at its end, or kept and scored in overlapping windows.
        entropy: also the entropy (nats) of the model's whole distribution where each token stands, and the token's rank
            in it (1 is the likeliest), as columns; the model then runs in transformers.
        preview: write nothing, and show what each of many thresholds would mask.
        seed: for `mask_random`.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows of the source to take.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Returns:
        The rows that can be trained on; with `preview`, the effects of masks.

    Raises:
        UsageError: something is wrong with the settings or the rows; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    if mask_easiest and mask_random:
        raise UsageError("`mask_easiest` and `mask_random` are two controls: give one of them")
    if preview and shard is not None:
        raise UsageError("`preview` tells of all rows: leave `shard` out, or take the first rows with `limit`")
    settings = ScoringSettings(
        mask=Mask(
            above=mask_above,
            hardest=mask_hardest,
            conflicts=mask_confident_conflicts,
            which="easiest" if mask_easiest else "random" if mask_random else "hardest",
            over=mask_over,
            seed=seed,
        ),
        train_on=train_on,
        text_column=text_column,
        protect=frozenset((protect,) if isinstance(protect, str) else protect),
        overlong=overlong,
        entropy=entropy or mask_confident_conflicts is not None,
    )
    place = output_at(output, restart=restart, shard=shard)
    with used(model) as trained, source_at(source) as name:
        models = _models(trained, scorer, progress, entropy=settings.entropy)
        if trained.runs_in.here and (doubt := doubt_of(trained.options.adapter, trained.name)):
            progress.say(doubt)
        if text_column is not None:
            prompts = read_text_column(name, text_column, progress, limit)
        else:
            columns = {"prompt_column": prompt_column, "reference_column": reference_column}
            prompts = read_prompts(name, progress, **columns, limit=limit, texts=True)
        job = ScoringJob(prompts, settings, models)
        if preview:
            return preview_masks(job, progress)
        return Dataset.of(place, write_scores(job, place, progress))


def _models(trained: Model, scorer: Model | ModelName | None, progress: Progress, *, entropy: bool) -> ScoringModel:
    """The models of a run, nothing of them loaded; `progress` is told what becomes of servers.

    Raises:
        UsageError: there is no such scorer, or it is to run in an engine that does not score, or gives no entropies.
    """
    scoring = scorer if isinstance(scorer, Model) else trained.other(scorer) if scorer else trained
    scoring = scoring.that_scores("token scores")
    if entropy and scoring.runs_in.name != SCORES_HERE:
        raise UsageError(NO_ENTROPY.format(engine=shown(scoring.engine)))

    def chat(plain: bool) -> ChatFormat:
        if plain:
            with remote_code(allowed=trained.trust_remote_code):
                chat_format = format_for_texts(trained.name, prefix=trained.prefix, stop=trained.stop)
        else:
            chat_format = trained.chat
        if scoring.name != trained.name and scoring.tokenizer.get_vocab() != chat_format.tokenizer.get_vocab():
            raise UsageError(
                f"`scorer` {scoring.name} has another tokenizer than {trained.name}: what it scores are other tokens"
            )
        return chat_format

    def opened(chat_format: ChatFormat, entropy: bool) -> TokenScorer:
        loaded = getattr(scoring.running, "model", None)  # of transformers, where it is in memory already
        with remote_code(allowed=scoring.trust_remote_code):
            options = replace(scoring.options, say=progress.say)
            return open_scorer(scoring.engine, scoring.name, chat_format.tokenizer, options, loaded, entropy=entropy)

    options = trained.options
    settings: dict[str, Any] = {"prefix": trained.prefix, "stop": trained.stop}
    settings |= {"dtype": options.dtype, "max_length": options.max_length} | trained.record()
    if not trained.runs_in.scores:
        settings["engine"] = SCORES_HERE
    address = "" if scoring.runs_in.here else f"@{_place(scoring.engine)}"
    revision = scoring.record()["revision"]
    return ScoringModel(trained.title, settings, f"{scoring.name}{address}", scoring.title, revision, chat, opened)


def _place(engine: EngineChoice) -> str:
    """Where scores come from, for the column `scorer`: which of several servers gave them is of no account."""
    return engine if isinstance(engine, str) and engine.startswith(ADDRESS) else "servers"
