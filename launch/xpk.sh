#!/bin/bash
# Run on several TPU slices of a GKE cluster that `xpk cluster create` made:
#
#   CLUSTER=my-cluster ZONE=us-east5-b launch/xpk.sh NAME --config=configs/siglip.py:b16 --workdir=gs://my-bucket/runs/b16
#
# BASE_IMAGE has Python 3.12 with requirements-remote.txt and requirements-tpu.txt
# installed; xpk adds this folder to it (a local Docker builds the image).
# JobSet starts the slices again on 75.
#
# Cost: not known here.
# Run: all but the start, by `xpk --dry-run` (1.16.0). Not run: anything on GKE.
set -euo pipefail
name=$1
shift
flags=$(printf ' %q' "$@")
exec xpk workload create --workload="$name" \
  --cluster="$CLUSTER" --zone="$ZONE" ${PROJECT:+--project="$PROJECT"} \
  --tpu-type="${TPU_TYPE:-v5litepod-16}" --num-slices="${NUM_SLICES:-2}" \
  --base-docker-image="${BASE_IMAGE:-python:3.12}" --script-dir=. \
  --max-restarts=100 --restart-on-exit-codes=75 \
  --termination-grace-period-seconds=300 \
  --command="python main.py$flags" ${DRY_RUN:+--dry-run}
