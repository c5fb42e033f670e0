#!/bin/bash
# A run in shards, one on each of some machines that share this folder, and then joined:
#
#   HOSTS="gpu1 gpu2 gpu3" samples/ssh.sh replay magpie --model Qwen/Qwen2.5-7B-Instruct -n 1000000
#
# makes replay.parts/1 … 3, then replay. The same line again goes on with what was killed or failed. Where the shards
# had too few rows, ROWS (as HOSTS) is how many are wanted, and -n the larger number that `synth join` tells.
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
failed=0
for job in "${jobs[@]}"; do
    wait "$job" || failed=1
done
if [ $failed != 0 ]; then
    echo "a shard did not finish: see $output.parts/*.log; run this again to go on" >&2
    exit 1
fi
exec synth join "${shards[@]}" ${ROWS:+--rows "$ROWS"} -o "$output"
