#!/usr/bin/env bash
# From a bare machine to the whole loop, in a few minutes and without a GPU or a download of a model: the sample model
# (2 million parameters, in this repository) learns a new skill without `synth` and with it, and shows what it forgot.
#   samples/demo.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-demo}
venv=${SYNTH_VENV:-.venv}
samples/install.sh "$venv"
export PATH="$venv/bin:$PATH"
model=samples/model
here="--engine transformers --device cpu --max-tokens 160"
run() {
    echo
    echo "\$ $*"
    "$@"
}

python -m samples.lab.suites "$folder"
old=$(echo "$folder"/suites/old/*.jsonl)
new=$folder/suites/new/two_step.jsonl

# 1. Replay: the model asks itself what it was taught to answer, and answers.
run synth magpie --model $model $here -n 400 -o "$folder/replay"
run synth show "$folder/replay" -n 3

# 2. The new task in the model's own words: its own right answers, the human ones for the rest.
run synth self-output "$folder/tasks.jsonl" --model $model $here --verifier math --samples 4 --fallback gold -o "$folder/own"

# 3. Both together.
run synth mix "$folder/own" --replay "$folder/replay:20%" -o "$folder/mixed"

# 4. The same training twice: on the human data as it came, and on the mixture.
train="--model $model --device cpu --steps 300 --batch-tokens 1024 --lr 1e-3"
run synth train "$folder/tasks.jsonl" $train -o "$folder/without"
run synth train "$folder/mixed" $train -o "$folder/with"

# 5. What was learnt, and what was forgotten.
run synth eval $old --new "$new" --model before=$model --model without="$folder/without" --model with="$folder/with" \
    $here -o "$folder/scores"
echo
[ -e "$folder/suites/old/code.jsonl" ] ||
    echo "The suite code is missing, since there is no sandbox for programs here: install bubblewrap, then run this again."
echo "Answers, plots and scores.json are in $folder/scores, the trained models in $folder/without and $folder/with."
