#!/bin/bash
# A run in shards, one on each of some machines that share this folder, and then joined:
#
#   HOSTS="gpu1 gpu2 gpu3" samples/ssh.sh replay magpie --model Qwen/Qwen2.5-7B-Instruct -n 1000000
#
# makes replay.parts/1 … 3, then replay. The same line again goes on with what was killed or failed. Shards are joined
# when all have ended, however they did: where one gave up, the others may have rows enough. Where there are too few,
# ROWS (as HOSTS) is how many are wanted, and -n the larger number that the joining tells.
set -euo pipefail
output=$1
shift
read -ra hosts <<<"$HOSTS"
mkdir -p "$output.parts"
shards=() jobs=()
for host in "${hosts[@]}"; do
    shards+=("$output.parts/$((${#shards[@]} + 1))")
    command=(synth "$@" --shard "${#shards[@]}/${#hosts[@]}" -o "${shards[-1]}")
    ssh "$host" "cd $(printf %q "$PWD") && $(printf '%q ' "${command[@]}")" >"${shards[-1]}.log" 2>&1 &
    jobs+=($!)
done
for number in "${!jobs[@]}"; do
    if ! wait "${jobs[number]}"; then
        echo "${hosts[number]} did not do all of ${shards[number]}: $(tail -n 1 "${shards[number]}.log")" >&2
    fi
done
exec synth join "${shards[@]}" ${ROWS:+--rows "$ROWS"} -o "$output"
