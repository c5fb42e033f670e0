#!/usr/bin/env bash
# The tests that meet the libraries below, with the oldest and with the newest releases that pyproject.toml allows; without
# vLLM, which pins releases between them: tests/releases.sh [install], to run them or to install what they need
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath -m "${SYNTH_VENV:-.venv}")
mkdir -p "$venv"
prepare() { # NAME RESOLUTION
    local here="$venv/$1" mark build
    mark="$here/.synth-$(cksum <pyproject.toml | cut -d' ' -f1)"
    if [ ! -e "$mark" ]; then
        samples/install.sh "$here" torch
        "$here/bin/python" -m pip --disable-pip-version-check --quiet --quiet install uv
        # To the letter the build of torch that is there: where there is no GPU, no other will do.
        build=$("$here/bin/python" -m pip show torch 2>/dev/null | sed -n 's/^Version: //p')
        "$here/bin/python" -m uv pip install --quiet --python "$here" --resolution "$2" \
            --editable '.[adapters,trl]' "torch==${build:-2.13.0}" 'pytest>=8'
        touch "$mark"
    fi
}
try() { # NAME RESOLUTION
    local here="$venv/$1"
    prepare "$@"
    "$here/bin/python" -c '
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "pyarrow")))'
    # test_quiet.py is a session of commands: generation, scores, mixing, training, evaluation, report, export. Of the
    # training's tests there are those in which a library below does something else than in the others.
    local training=tests/synth/training
    OMP_NUM_THREADS=1 "$here/bin/python" -m pytest --quiet -p no:cacheprovider --durations 5 tests/cli/test_quiet.py \
        $training/test_{attention,merge}.py \
        $training/test_{methods.py::test_two_steps,grpo.py::test_steps}_are_those_of_trls_trainer_by_hand \
        $training/test_run.py::test_{stopped_and_continued_it_ends_where_it_would_have,other_methods_of_peft} \
        $training/test_run.py::test_{an_adapter_is_saved_and_merged_in,a_subspace_is_trained_orthogonal_to_what_is_kept} \
        $training/test_trainer.py::test_{batches_of_a_step_are_one,padded_rows_give_the_same_loss} \
        tests/synth/chat/test_format.py tests/synth/engines/hf/test_engine_faults.py tests/synth/data/test_read.py \
        tests/synth/data/test_write.py::test_directory_{is_what_datasets_loads,describes_itself_as_datasets_does}
}
todo=try
[ "${1:-}" = install ] && todo=prepare
$todo oldest lowest-direct >"$venv/oldest.log" 2>&1 &
oldest=$!
$todo newest highest >"$venv/newest.log" 2>&1 &
newest=$!
failed=0
for one in oldest newest; do
    wait "${!one}" || failed=1
    [ $todo = try ] && echo "$one:"
    cat "$venv/$one.log"
done
exit $failed
