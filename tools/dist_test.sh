#!/usr/bin/env bash
# Evaluate on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set.
set -euo pipefail
if (( $# < 3 )); then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
gpus=$3
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$gpus" \
    "$root/tools/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
