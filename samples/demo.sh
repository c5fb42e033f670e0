#!/usr/bin/env bash
# From a bare machine to a data set: installs synth into a virtual environment, then lets the sample model (2 million
# parameters, in this repository) question and answer itself. No GPU, no download of a model.
#   samples/demo.sh [ROWS] [OUTPUT]
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-1000}
output=${2:-demo-replay}
venv=${SYNTH_VENV:-.venv}
samples/install.sh "$venv"
export PATH="$venv/bin:$PATH"

echo '$ synth template --model samples/model      # what the model is fed'
synth template --model samples/model
echo
echo "\$ synth magpie --model samples/model --engine transformers -n $rows -o $output"
synth magpie --model samples/model --engine transformers -n "$rows" -o "$output" --restart
echo
echo "\$ synth show $output -n 6"
synth show "$output" -n 6
if [ -d "$output/rejected" ]; then
    echo
    echo "\$ synth show $output/rejected -n 2"
    synth show "$output/rejected" -n 2
fi
echo
echo "The rows are in $output: datasets.load_from_disk(\"$output\"); the card is $output/README.md."
