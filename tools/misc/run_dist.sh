#!/usr/bin/env bash
# What tools/dist_train.sh and dist_test.sh share: run_dist.sh GPUS TOOL [arguments]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$1" \
    "$root/tools/$2" --launcher pytorch "${@:3}"
