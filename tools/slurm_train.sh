#!/usr/bin/env bash
# Train on a Slurm cluster: tools/slurm_train.sh PARTITION JOB CONFIG [arguments of tools/train.py]
# Variables: GPUS (8) in all, GPUS_PER_NODE (8) on each machine, CPUS_PER_TASK (5) cores for each
# GPU, PORT (29500) of the first machine, SRUN_ARGS for more arguments of srun.
set -euo pipefail
if (( $# < 3 )); then
    echo "usage: $0 PARTITION JOB CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
(( gpus_per_node <= gpus )) || gpus_per_node=$gpus
read -r -a srun_args <<< "${SRUN_ARGS:-}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

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
    python -u "$root/tools/train.py" "$3" --launcher slurm "${@:4}"
