#!/usr/bin/env bash
# The tests that meet the libraries below, with the oldest and with the newest releases that pyproject.toml allows; without
# vLLM, which pins releases between them: tests/releases.sh
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath -m "${SYNTH_VENV:-.venv}")
try() {
    local here="$venv/$1" mark torch
    mark="$here/.synth-$(cksum <pyproject.toml | cut -d' ' -f1)"
    if [ ! -e "$mark" ]; then
        samples/install.sh "$here" torch
        "$here/bin/python" -m pip --disable-pip-version-check --quiet install uv
        # to the letter the build of torch that is there: no other is to be had where there is no GPU
        torch=$("$here/bin/python" -c 'from importlib.metadata import version; print(version("torch"))')
        "$here/bin/python" -m uv pip install --quiet --python "$here" --resolution "$2" \
            --editable . "torch==$torch" 'pytest>=8'
        touch "$mark"
    fi
    "$here/bin/python" -c '
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate", "datasets", "peft", "pyarrow")))'
    OMP_NUM_THREADS=1 "$here/bin/python" -m pytest --quiet -p no:cacheprovider \
        tests/cli/test_quiet.py tests/synth/engines/test_transformers_faults.py tests/synth/training \
        tests/synth/chat/test_format.py tests/synth/data/test_read.py tests/synth/data/schema/test_benchmarks.py \
        -k "not processes and not hub"
}
try oldest lowest-direct >"$venv/oldest.log" 2>&1 &
oldest=$!
try newest highest >"$venv/newest.log" 2>&1 &
newest=$!
failed=0
for one in oldest newest; do
    wait "${!one}" || failed=1
    cat "$venv/$one.log"
done
exit $failed
