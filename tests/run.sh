#!/usr/bin/env bash
# Sets up everything the tests need, real vLLM included, and runs them: tests/run.sh [PYTEST ARGUMENTS]
# Without arguments: ruff before them, and beside them mypy and tests/releases.sh, of which a failure is told at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath -m "${SYNTH_VENV:-.venv}")  # tests start Python from other directories
# The sandbox of model-written programs, a browser to look at the report with, a voice for recordings; tests that need
# what cannot be had are skipped.
programs() {
    for package in bubblewrap:bwrap chromium:chromium espeak-ng:espeak-ng; do
        if ! command -v "${package#*:}" >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            name=${package%:*}
            apt-get install --yes --quiet=2 "$name" >/dev/null 2>&1 ||
                { apt-get update --quiet=2 && apt-get install --yes --quiet=2 "$name"; } >/dev/null 2>&1 || true
        fi
    done
}
programs &  # while Python's packages are installed, most of which time is downloads, too
programs=$!
samples/install.sh "$venv" dev vllm
wait $programs
export PATH="$venv/bin:$PATH"
if [ $# -gt 0 ]; then
    exec python -m pytest "$@"
fi
ruff check .
ruff format --check .
export OMP_NUM_THREADS=1  # three processes share two cores, as each waits now and then
{ mypy && tests/releases.sh; } >"$venv/beside.log" 2>&1 &
beside=$!
failed=0
# In the order of tests/conftest.py. It begins with vLLM, and what is beside it with downloads: both wait a good deal.
python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 25 || failed=1
wait $beside || { failed=1 && cat "$venv/beside.log"; }
exit $failed
