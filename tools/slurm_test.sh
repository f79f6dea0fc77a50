#!/usr/bin/env bash
# Evaluate on a Slurm cluster: tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [arguments]
# Variables: GPUS (8) in all, GPUS_PER_NODE (8) on each machine, CPUS_PER_TASK (5) cores for each
# GPU, PORT (29500) of the first machine, SRUN_ARGS for more arguments of srun.
set -euo pipefail
if (( $# < 4 )); then
    echo "usage: $0 PARTITION JOB CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
    exit 2
fi
exec "$(dirname "${BASH_SOURCE[0]}")/misc/run_slurm.sh" "$1" "$2" test.py "${@:3}"
