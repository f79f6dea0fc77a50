#!/usr/bin/env bash
# What tools/slurm_train.sh and slurm_test.sh share: run_slurm.sh PARTITION JOB TOOL [arguments]
set -euo pipefail
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
(( gpus_per_node <= gpus )) || gpus_per_node=$gpus
read -r -a srun_args <<< "${SRUN_ARGS:-}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# One process that fails ends the others, which would wait for it.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" MASTER_PORT="${PORT:-29500}" exec srun \
    --partition="$1" \
    --job-name="$2" \
    --gres="gpu:$gpus_per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    "${srun_args[@]}" \
    python -u "$root/tools/$3" --launcher slurm "${@:4}"
