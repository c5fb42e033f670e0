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
    # training's tests those of batches, rows and folders are left out: no library below decides how they end.
    OMP_NUM_THREADS=1 "$here/bin/python" -m pytest --quiet -p no:cacheprovider --durations 5 \
        tests/cli/test_quiet.py tests/synth/training/test_{attention,grpo,merge,methods,run,trainer}.py \
        tests/synth/chat/test_format.py tests/synth/engines/hf/test_engine_faults.py \
        tests/synth/data/test_read.py \
        tests/synth/data/test_write.py::test_directory_is_what_datasets_loads \
        tests/synth/data/test_write.py::test_directory_describes_itself_as_datasets_does
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
