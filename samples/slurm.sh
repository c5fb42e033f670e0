#!/bin/bash
# A run in shards, as an array of Slurm jobs, and a job after it that joins them:
#
#   samples/slurm.sh replay 8 magpie --model Qwen/Qwen2.5-7B-Instruct -n 1000000
#
# makes replay.parts/1 … 8, then replay. The same line again goes on with what was killed, failed or ran out of time;
# finished shards are left as they are. What the jobs ask Slurm for is in variables that sbatch reads itself:
# SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_GPUS, … The folder must be one that all nodes share.
#
# The last job joins the shards when all have ended, however they did: where one gave up, the others may have rows
# enough. If not, replay.parts/join.log says which shard failed, and how to go on; what a shard said itself is in
# replay.parts/NUMBER.log. Where there are too few rows, ROWS is how many are wanted, and -n the larger number that the
# joining tells:
#
#   ROWS=1000000 samples/slurm.sh replay 8 magpie --model Qwen/Qwen2.5-7B-Instruct -n 1010000
set -euo pipefail
output=$1 shards=$2
shift 2
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    exec synth "$@" --shard "$SLURM_ARRAY_TASK_ID/$shards" -o "$output.parts/$SLURM_ARRAY_TASK_ID"
fi
mkdir -p "$output.parts"
array=$(sbatch --parsable --array="1-$shards" --output="$output.parts/%a.log" "$0" "$output" "$shards" "$@")
join=(synth join)
for ((number = 1; number <= shards; number++)); do
    join+=("$output.parts/$number")
done
sbatch --dependency="afterany:${array%%;*}" --output="$output.parts/join.log" --wrap "$(printf '%q ' "${join[@]}" ${ROWS:+--rows "$ROWS"} -o "$output")"
