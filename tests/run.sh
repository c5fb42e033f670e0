#!/usr/bin/env bash
# Sets up everything the tests need, real vLLM included, and runs them: tests/run.sh [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath -m "${SYNTH_VENV:-.venv}")  # tests start Python from other directories
samples/install.sh "$venv" dev vllm
export PATH="$venv/bin:$PATH"
if ! command -v bwrap >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # the sandbox of model-written programs; tests that need it are skipped where it cannot be had
    apt-get install --yes --quiet=2 bubblewrap >/dev/null 2>&1 ||
        { apt-get update --quiet=2 && apt-get install --yes --quiet=2 bubblewrap; } >/dev/null 2>&1 || true
fi
if [ $# = 0 ]; then
    ruff check .
    ruff format --check .
    mypy
fi
python -m pytest "$@"
