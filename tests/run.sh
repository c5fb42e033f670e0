#!/usr/bin/env bash
# Sets up everything the tests need, real vLLM included, and runs them: tests/run.sh [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${SYNTH_VENV:-.venv}
samples/install.sh "$venv" dev vllm
export PATH="$venv/bin:$PATH"
if [ $# = 0 ]; then
    ruff check .
    ruff format --check .
    mypy
fi
python -m pytest "$@"
