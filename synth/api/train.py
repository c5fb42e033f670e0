"""`synth.train`: train a model on a data set, and watch what it learns and forgets."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from synth.api.places import Source, several, source_at
from synth.api.replaying import replay_at, replay_settings
from synth.api.training import Training
from synth.data.destination import check_directory
from synth.data.store.address import is_address, shown
from synth.data.store.path import path_at
from synth.engines.loading import remote_code
from synth.engines.open import check_device
from synth.errors import UsageError
from synth.generation.models import ModelName
from synth.progress import SILENT, Progress
from synth.training.callbacks import Entry
from synth.training.fresh import fresh_drawing, fresh_length, is_fresh
from synth.training.inputs import read_input, with_replay
from synth.training.method import LEARNING_RATE, method_settings
from synth.training.pipeline import TrainingJob, is_first_process, plan_job, processes, run_job
from synth.training.rewarding import reward_for
from synth.training.settings import DRAWS, ReplaySettings, RowSettings, TrainedParts, TrainingSettings
from synth.values import (
    Count,
    Dropout,
    Limit,
    NonNegative,
    OptimizerName,
    OverlongTrained,
    Positive,
    Quantised,
    ReplayLoss,
    ReplayPositions,
    Rows,
    Schedule,
    Seconds,
    Seed,
    Share,
    Steps,
    TokenLoss,
    Tokens,
    TrainedWeights,
    TrainingDType,
    TrainingMethod,
    TrainOn,
    Weight,
    Window,
    checked,
)


@checked
def train(
    source: Source,
    model: ModelName,
    *,
    output: str | os.PathLike[str] | None = None,
    method: TrainingMethod = "sft",
    beta: NonNegative | None = None,
    teacher: ModelName | None = None,
    temperature: NonNegative | None = None,
    max_tokens: Tokens | None = None,
    reward: str | Sequence[str] = (),
    reward_weights: Sequence[Weight] = (),
    generations: Count | None = None,
    rollout_engine: str | None = None,
    time_limit: Seconds | None = None,
    train_on: TrainOn = "assistant",
    text_column: str | None = None,
    steps: Steps | None = None,
    epochs: Positive = 1.0,
    learning_rate: Positive | None = None,
    schedule: Schedule = "cosine",
    warmup: Share = 0.03,
    tokens_per_batch: Window = 8192,
    gradient_accumulation_steps: Count = 1,
    overlong: OverlongTrained = "drop",
    max_length: Window | None = None,
    max_grad_norm: Positive = 1.0,
    weight_decay: NonNegative = 0.0,
    dropout: Dropout = 0.0,
    freeze: str | Sequence[str] = (),
    lora: Count | None = None,
    lora_alpha: Count | None = None,
    lora_dropout: Dropout = 0.0,
    peft: str | os.PathLike[str] | None = None,
    quantise: Quantised | None = None,
    loss: TokenLoss = "sft",
    eaft_alpha: NonNegative = 1.0,
    lm_loss_coef: NonNegative = 0.0,
    kl_coef: NonNegative = 0.0,
    kl_sources: str | Sequence[str] = (),
    replay: Source | None = None,
    replay_sources: str | Sequence[str] = (),
    replay_tokens_per_batch: Window | None = None,
    replay_weight: NonNegative = 1.0,
    replay_loss: ReplayLoss = "nll",
    replay_positions: ReplayPositions | None = None,
    replay_length: Window | None = None,
    replay_engine: str = "transformers",
    reference_top_k: Count | None = None,
    gradient_checkpointing: bool = False,
    dtype: TrainingDType = "auto",
    weights: TrainedWeights = "float32",
    optimizer: OptimizerName = "adamw",
    device: str = "auto",
    save_every: Steps = 200,
    suites: str | Sequence[str] = (),
    new_suites: str | Sequence[str] = (),
    eval_every: Steps = 50,
    eval_limit: Rows | None = 100,
    eval_tokens: Tokens = 512,
    keep: Share | None = None,
    seed: Seed = 0,
    prefix: str | None = None,
    stop: str | None = None,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    trust_remote_code: bool = False,
    dry_run: bool = False,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Training:
    """Train a model on a data set, and watch what it learns and forgets.

    Rows may be conversations, plain texts, which are trained on whole, or tokens with `labels` (and `weights`), as
    `synth.score_tokens` writes them. An interrupted training in the output is continued, with the same result.

    Args:
        source: the rows.
        model: the model to begin with, a directory or a Hub id.
        output: the directory for the trained model, an adapter merged into it; needed but for `dry_run`. Elsewhere
            (`s3://bucket/tuned`) checkpoints are carried to as they are made.
        method: sft learns what rows say; dpo, ipo and simpo learn to prefer `chosen` to `rejected` (rows of preference
            pairs); distil answers the rows' prompts and learns a teacher's distribution at each token; grpo answers
            each prompt several times and learns what was rewarded more. All but the first run on TRL
            (pip install -e '.[trl]').
        beta: of dpo and ipo how near the model stays to the one before training (0.1); of simpo the scale of rewards
            (2); of distil the divergence: 0 is KL(teacher ‖ model), 1 is KL(model ‖ teacher), the default, and 0.5
            Jensen-Shannon; of grpo the weight of KL(model ‖ model before training), 0 by default.
        teacher: the model that distil learns from, with the same tokens: a directory or a Hub id.
        temperature: at which distil and grpo draw answers, and distil compares distributions; 1 by default.
        max_tokens: most tokens of an answer of distil or grpo; 512 by default.
        reward: what grpo rewards answers for, part by part: a verifier, module:function, format, length:max=512, …; by
            default the verifier that each row names.
        reward_weights: of these parts, in their order; 1 each by default.
        generations: answers of grpo to each prompt, which are compared with each other; 8 by default.
        rollout_engine: what draws the answers of grpo: "transformers" (the default), "vllm" on the same devices, or the
            address of a server of TRL's (trl vllm-serve).
        time_limit: seconds that grpo's check of one answer may take; 10 by default.
        train_on: what of a conversation is trained on: all assistant turns, the last one, or every token. Rows with
            labels are trained on as these say; tokens without labels need all.
        text_column: the column with plain texts, if it is not "text".
        steps: optimizer steps; by default `epochs` says how many.
        epochs: passes over the rows.
        learning_rate: the highest learning rate; 1e-5 by default, for adapters 2e-4; of methods on TRL 1e-6 and 1e-5.
        schedule: how the learning rate falls.
        warmup: share of the steps in which it rises.
        tokens_per_batch: tokens of a batch on one device; rows are packed, and none sees another.
        gradient_accumulation_steps: batches a step, on one device.
        overlong: rows longer than the window or a batch are left out, or cut.
        max_length: the window, in tokens; the model's by default.
        max_grad_norm: gradients are clipped to this norm.
        weight_decay: AdamW's.
        dropout: share of the outputs of every attention and MLP block that is dropped.
        freeze: leave a part as it is: embeddings, attention, mlp, or layers:FIRST-LAST.
        lora: rank of low-rank adapters on all linear layers.
        lora_alpha: the adapters' scale; twice the rank by default.
        lora_dropout: dropout before the adapters.
        peft: or another method of peft: the file of its configuration, JSON.
        quantise: hold the matrices around the adapter in 4 bits (QLoRA, arXiv 2305.14314; needs bitsandbytes). What is
            saved is the model as it was, in full precision, with the adapter merged in.
        loss: on the task's tokens: "sft", all alike; "dft", each times the model's own probability of it, so that
            unlikely ones are learnt less (arXiv 2508.05629); "eaft", each times the entropy of the model's 20 likeliest
            tokens ÷ 3, so that less is learnt where the model is sure, of another token above all (arXiv 2601.02151).
        eaft_alpha: the power of that entropy.
        lm_loss_coef: weight of a language-model loss over all tokens (LAMOL: 0.25, arXiv 1909.03329).
        kl_coef: weight of the KL divergence from the model before training (arXiv 2501.14315).
        kl_sources: take the divergence on rows of these sources (of `synth.mix`); on all by default.
        replay: rows of replay, an objective of its own: each batch of the task is followed by one of replay, and the
            loss is that of the task and `replay_weight` times that of replay, each a mean over its own tokens
            (arXiv 2605.26097). Or "fresh": context-free samples as of `synth.sample`, drawn from the model before
            training in a process beside while it is trained, other ones for every batch; a set of that name is ./fresh.
        replay_sources: or the rows of these sources (of `synth.mix`) are the replay, and the others the task.
        replay_tokens_per_batch: tokens of a batch of replay; a longer row is one by itself. By default a quarter of
            `tokens_per_batch`.
        replay_weight: weight of the loss on replay.
        replay_loss: negative log-likelihood; or a divergence from the model before training, without any: "kl",
            KL(reference ‖ model), "reverse-kl", or "js".
        replay_positions: take it on every token of replay, whoever wrote it, or on those trained on. By default on
            every one for a divergence, on those trained on for "nll".
        replay_length: tokens of a row of fresh replay; 512 by default, or what the window or a batch of replay holds.
        replay_engine: what draws fresh replay: "transformers" on the same device, "vllm", or the address of a server
            that runs the model.
        reference_top_k: compute what the model before training predicts once, and store it in the output until the
            training is finished, so that the model need not be in memory: so many tokens of each prediction, and all
            others together (64 lacks hardly anything of kl and js, but a good part of reverse-kl).
        gradient_checkpointing: less memory, a third more time.
        dtype: what is computed in; by default bfloat16 where the GPU can, else float32.
        weights: number format of the weights that are trained. In bfloat16, rounded by chance, they and their gradients
            and moments take half as much memory as in float32 (needs torchao).
        optimizer: AdamW with moments in the format of the weights, or in 8 bits (needs torchao).
        device: where it runs: "auto", "cuda", "mps" or "cpu".
        save_every: steps between checkpoints.
        suites: old abilities to watch: suites as for `synth.evaluate`.
        new_suites: suites of the new task.
        eval_every: steps between evaluations.
        eval_limit: items taken of each suite.
        eval_tokens: most tokens of an answer.
        keep: stop once less than this share of what `suites` measures at the start is left, and go back to where it
            was.
        seed: decides the order of the rows, the adapters' first weights and dropout.
        prefix: what precedes a user message, instead of what the chat template says.
        stop: what ends a user message, with `prefix`.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows of the source to take.
        trust_remote_code: let the model run code that comes with it; without this it never does.
        dry_run: train nothing, and show what would be trained on.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the rows; no model was loaded.
        RunError: the run broke off; its last checkpoint is kept.
        Stopped: a person stopped it.
    """
    check_device(device)
    place = _place(output, dry_run)
    adapts = lora is not None or peft is not None
    name = os.fspath(model)
    chosen = method_settings(
        method,
        beta=beta,
        teacher=None if teacher is None else os.fspath(teacher),
        temperature=temperature,
        max_tokens=max_tokens,
        reward=several(reward),
        reward_weights=reward_weights,
        generations=generations,
        rollout_engine=rollout_engine,
        time_limit=time_limit,
    )
    if chosen is not None:  # before they are refused for want of others, which do not go with it either
        chosen.refuse(
            reference_top_k=reference_top_k is not None,
            quantise=quantise is not None,
            kl_sources=bool(kl_sources),
            eaft_alpha=eaft_alpha != 1.0,
            replay_sources=bool(replay_sources),
            replay_length=replay_length is not None,
            replay_engine=replay_engine != DRAWS,
        )
        if chosen.takes_replay and is_fresh(replay):
            raise UsageError(f"`method` {method} takes replay that is there: `replay` SET, as `synth.sample` writes it")
        if not chosen.takes_replay:
            chosen.refuse(
                replay=replay is not None,
                replay_tokens_per_batch=replay_tokens_per_batch is not None,
                replay_weight=replay_weight != 1.0,
                replay_loss=replay_loss != "nll",
                replay_positions=replay_positions is not None,
            )
    replay_tokens = max(2, tokens_per_batch // 4) if replay_tokens_per_batch is None else replay_tokens_per_batch
    if is_fresh(replay) and replay_length is None:
        replay_length = fresh_length(name, replay_tokens, max_length, trust_remote_code=trust_remote_code)
    elif not is_fresh(replay) and (replay_length is not None or replay_engine != DRAWS):
        field = "replay_engine" if replay_length is None else "replay_length"
        raise UsageError(f"`{field}` is of rows that are drawn meanwhile: `replay` fresh")
    beside = replay_settings(
        source,
        replay,
        ReplaySettings(
            replay_tokens,
            several(replay_sources),
            replay_weight,
            replay_loss,
            replay_positions,
            replay_length,
            replay_engine,
        ),
        chosen=replay_tokens_per_batch is not None,
    )
    whole, adapter = (1e-5, 2e-4) if chosen is None else (LEARNING_RATE, 10 * LEARNING_RATE)
    job = TrainingJob(
        name,
        TrainingSettings(
            steps=steps,
            epochs=epochs,
            learning_rate=(adapter if adapts else whole) if learning_rate is None else learning_rate,
            schedule=schedule,
            warmup=warmup,
            tokens_per_batch=tokens_per_batch,
            gradient_accumulation_steps=gradient_accumulation_steps,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            loss=loss,
            eaft_alpha=eaft_alpha,
            lm_loss_coef=lm_loss_coef,
            kl_coef=kl_coef,
            kl_sources=several(kl_sources),
            replay=beside,
            reference_top_k=reference_top_k,
            dtype=dtype,
            weights=weights,
            optimizer=optimizer,
            save_every=save_every,
            eval_every=eval_every,
            keep=keep,
            gradient_checkpointing=gradient_checkpointing,
            seed=seed,
        ),
        TrainedParts(
            freeze=several(freeze),
            dropout=dropout,
            lora=lora,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
            peft=None if peft is None else os.fspath(peft),
            quantise=quantise,
        ),
        RowSettings(train_on, text_column, overlong, prefix, stop, max_length),
        chosen,
        device=device,
        restart=restart,
        draw=lambda path, log: _draw(path, log, keep),
    )
    if keep is not None and not suites:
        raise UsageError("`keep` is a share up to 100% of what `suites` measures: give both")
    progress = progress if is_first_process() else SILENT
    job.refuse_early(None if place is None else path_at(place), evaluates=bool(suites or new_suites))
    if beside is not None:
        drawing = fresh_drawing(name, beside, seed, device, trust_remote_code=trust_remote_code)
        job = replace(job, drawing=drawing)
    with ExitStack() as stack:
        if chosen is not None and chosen.time_limit is not None:  # grpo
            rewarding = stack.enter_context(closing(reward_for(chosen)))
            job = replace(job, method=replace(chosen, rewarding=rewarding))
        stack.enter_context(remote_code(allowed=trust_remote_code))
        read, replayed = stack.enter_context(source_at(source)), stack.enter_context(replay_at(replay))
        if suites or new_suites:
            from synth.evaluation.curve import open_curve

            watched = several(suites), several(new_suites)
            job = replace(job, curve=open_curve(*watched, limit=eval_limit, max_tokens=eval_tokens))
        size = job.measure()
        rows = read_input(
            read,
            name,
            job.rows,
            tokens_per_batch,
            progress,
            method=job.method,
            prompt_column=prompt_column,
            reference_column=reference_column,
            limit=limit,
            every_of=beside.sources if beside is not None and beside.every else (),
        )
        rows = with_replay(
            rows,
            replayed,
            name,
            job.rows,
            job.settings,
            progress,
            job.drawing,
            processes(),
            prompt_column=prompt_column,
            reference_column=reference_column,
        )
        plan = plan_job(job, rows, size)
        if place is not None:
            run_job(job, rows, plan.memory, place, progress=progress)
    return Training(plan, None if place is None else path_at(place))


def _place(output: str | os.PathLike[str] | None, dry_run: bool) -> str | None:
    if dry_run:
        return None
    if output is None:
        raise UsageError("say where the model goes: `output` DIR (or `dry_run`)")
    place = os.fspath(output)
    check_directory(place, "the trained model")
    if is_address(place) and processes() > 1:
        raise UsageError(
            f"`output` {shown(place)}: {processes()} processes train in one directory, of this machine or of a disk "
            "that all see; give that, and copy the model there when it is done"
        )
    return place


def _draw(folder: Path, log: Sequence[Entry], keep: float | None) -> None:
    from synth.reports.training import draw_training_curve

    draw_training_curve(folder, log, keep)
