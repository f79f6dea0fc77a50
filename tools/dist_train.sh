#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set.
set -euo pipefail
if (( $# < 2 )); then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
exec "$(dirname "${BASH_SOURCE[0]}")/misc/run_dist.sh" "$2" train.py "$1" "${@:3}"
