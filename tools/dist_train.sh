#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set.
set -euo pipefail
if (( $# < 2 )); then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$gpus" \
    "$root/tools/train.py" "$config" --launcher pytorch "${@:3}"
