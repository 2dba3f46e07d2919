#!/bin/bash
# Eight workers of one sweep as a SLURM array, submitted from the repository's folder on a file system of all nodes:
#   sbatch configs/sweeps/slurm_array.sh configs/sweeps/quantizer.yaml
# Each claims trials until none is left. Two minutes before the time is up, runs save their state and trials are handed
# back; submit again to go on. Trials of nodes that have died are run again by the others.
#SBATCH --job-name=sweep
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=runs/slurm-%A_%a.txt
set -euo pipefail
source .venv/bin/activate
srun python train.py sweep --config "${1:-configs/sweeps/quantizer.yaml}"
