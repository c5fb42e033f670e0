"""A run on Ray: planned here, made by actors, joined here."""

import math
import os

from synth.data.output import Output, closing_lines
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.distributed.actor import Workplace
from synth.distributed.blocks import Blocks, Prefix, block_rows, block_rows_before, clear_blocks
from synth.distributed.call import Call
from synth.distributed.cluster import Cluster, check_installed, connected
from synth.distributed.driver import Driver, Team
from synth.distributed.plan import plan_of
from synth.engines.base import EngineOptions
from synth.engines.open import choose_engine
from synth.errors import RunError, Stopped, UsageError
from synth.generation.acceptance import Acceptance
from synth.progress import Progress


def run_on_ray(call: Call, output: Output, address: str, actors: int | None, progress: Progress) -> RunRecord:
    """Have actors make the rows of a call, and join them: the same, byte for byte, that the call makes by itself.

    Args:
        call: what makes the rows, apart from where they go.
        output: where they go; the blocks of which they are made are beside it meanwhile.
        address: of the cluster, as for `connected`.
        actors: how many; by default one for as many GPUs as one takes, or one a machine where none is used.
        progress: is told how it goes.

    Returns:
        What is known of the run, now that it is complete.

    Raises:
        UsageError: something is wrong with the settings, or with Ray; no model was loaded.
        RunError: the run broke off, or fell short of its target; what was finished is kept.
        Stopped: a person stopped it.
    """
    if output.path is None:
        raise UsageError("`ray`: rows that several machines make go through files: give `output` DIR or FILE")
    check_installed()
    packed = call.packed()
    plan = plan_of(lambda place: call(output=place, progress=progress))
    output.refuse_early(lambda: plan.record)
    with output.opened(plan.record, plan.schema, also_read=plan.also_read) as sink:
        record = sink.record
        acceptance = Acceptance(sink, record.asked, plan.rules)
        if acceptance.reached or sink.next == plan.total:
            more = "; give a larger `rows` for more" if record.asked is not None else ""
            progress.say(f"{output.called} already holds {record.accepted:,} rows{more}")
            clear_blocks(output.path)
            return record
        with connected(address) as cluster:
            gpus = _gpus(call, cluster)
            actors = actors or (cluster.room(gpus) if gpus else cluster.nodes)
            size = block_rows_before(record) or block_rows(plan.wanted, actors, _at_once(call))
            blocks = Blocks(output.path, plan, size, restart=output.restart, done=sink.next)
            progress.say(_said(cluster, actors, gpus, blocks))
            workplace = Workplace(
                blocks.place,
                blocks.word,
                os.getcwd(),
                versions().get("synth", "unknown"),
                math.ceil(actors / cluster.nodes),
                choose_engine("auto")[0] if any(call.models()) else None,
            )
            try:
                prefix = Prefix(sink, acceptance, blocks)
                driver = Driver(Team(actors, gpus, packed, workplace), blocks, prefix, progress)
                rates = driver.go(record.command)
                if not prefix.complete:
                    raise Stopped(output.stopped())
            except BaseException:
                blocks.leave()
                raise
            closing_lines(record, sink.next, output, progress)
            progress.say(rates)
            if acceptance.gave_up:
                record.note = acceptance.shortfall(record.reasons)
    clear_blocks(output.path)
    if record.note is not None:
        raise RunError(record.note)
    return record


def _gpus(call: Call, cluster: Cluster) -> int:
    """GPUs that one actor takes: its models, if there are several, share them.

    Raises:
        UsageError: no machine of the cluster has so many.
    """
    if not cluster.gpus:
        return 0
    here = [model.options for model in call.models() if model.runs_in.here and model.options.device != "cpu"]
    wanted = max((options.tensor_parallel * options.data_parallel for options in here), default=0)
    if wanted > cluster.largest:
        raise UsageError(
            f"`ray`: one actor takes {wanted} GPUs of one machine (`tensor_parallel` × `data_parallel`), and the "
            f"largest that Ray has offers {cluster.largest}"
        )
    return wanted


def _at_once(call: Call) -> int:
    """Requests that the engine of an actor works on at once."""
    return next((model.options.at_once for model in call.models()), EngineOptions().at_once)


def _said(cluster: Cluster, actors: int, gpus: int, blocks: Blocks) -> str:
    machines = "1 machine" if cluster.nodes == 1 else f"{cluster.nodes} machines"
    there = f"{machines}, {cluster.gpus} GPUs" if cluster.gpus else machines
    each = f" of {gpus} GPU{'s' * (gpus > 1)} each" if gpus else ""
    team = "1 actor" if actors == 1 else f"{actors} actors"
    said = f"Ray: {there}; {team}{each}, blocks of {blocks.size:,} rows in {blocks.path}"
    return f"{said}; {len(blocks.finished):,} are done" if blocks.finished else said
