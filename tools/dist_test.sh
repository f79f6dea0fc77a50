#!/usr/bin/env bash
# Evaluate on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set.
set -euo pipefail
if (( $# < 3 )); then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
exec "$(dirname "${BASH_SOURCE[0]}")/misc/run_dist.sh" "$3" test.py "$1" "$2" "${@:4}"
