"""`synth.sample`: what a model writes from nothing."""

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, output_at
from synth.engines.base import Sampling
from synth.engines.loading import load_begin_id, load_config, load_end_ids, window_of
from synth.errors import UsageError
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import Job, generate
from synth.generation.roles import Roles
from synth.methods.sample import COLUMNS, SampleSettings, context_of, sample_rows
from synth.methods.sample import sample as method
from synth.progress import Progress
from synth.values import Count, Rows, Seed, Temperature, TopP, Window, checked


@checked
@on_ray
def sample(
    model: Model | ModelName,
    *,
    rows: Rows,
    output: Place = None,
    length: Window = 512,
    stop_at_end: bool = False,
    start: str | None = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Sample a model without a context: what it writes after its beginning-of-sequence token alone (arXiv 2505.13811).

    Rows are plain texts with the very tokens that were drawn (`input_ids`, and `labels` on all but the first), ready to
    be trained on as replay. Any causal language model will do; a chat template is not needed.

    Args:
        model: the model, by name or from `synth.load`.
        rows: rows wanted.
        output: where they go; an interrupted run there is continued.
        length: tokens of a row, what precedes the sample included.
        stop_at_end: end a row with the first end-of-sequence token (of a chat model: where a turn ends); without this
            the model writes on, as in arXiv 2605.26097.
        start: a text that samples follow instead, in which control tokens are written by their names. By default the
            beginning-of-sequence token; where a model has none, what separated documents in its training.
        seed: decides every draw of the run.
        temperature: of the samples; at 1 they are from the model's own distribution.
        top_p: of the samples.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings; no model was loaded.
        RunError: the run broke off, or too few rows can be used; what was finished is kept.
        Stopped: a person stopped it.
    """
    place = output_at(output, restart=restart, shard=shard)
    with used(model) as opened:
        writer = opened.of_texts()
        settings = SampleSettings(
            context_of(writer.tokenizer, load_begin_id(writer.name), start),
            seed,
            length,
            stop_at_end,
            Sampling(temperature=temperature, top_p=top_p),
        )
        _check_window(writer, length)
        ends = dict.fromkeys((writer.tokenizer.eos_token_id, *load_end_ids(writer.name)))
        job = Job(
            command="sample",
            settings=settings.record(),
            method=lambda roles: method(
                roles.chat_model.engine, settings, [token for token in ends if token is not None]
            ),
            rows=sample_rows,
            schema=COLUMNS,
            target=rows,
            answers=False,
        )
        return Dataset.of(place, generate(job, Roles({"model": writer}), place, progress=progress))


def _check_window(model: Model, length: int) -> None:
    """Refuse rows that are longer than the model's window, before it is loaded; a server's is known once it is asked.

    Raises:
        UsageError: they are.
    """
    if not model.runs_in.here:
        return
    longest = model.options.max_length or window_of(load_config(model.name))
    if longest is not None and length > longest:
        raise UsageError(f"`length` {length:,}: the window of {model.name} holds {longest:,} tokens")
