#!/bin/sh
# Create the namespace $TEMPORAL_NAMESPACE, and wait until the server has it. Can be repeated safely.
set -eu

known() { temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; }

for attempt in $(seq 60); do
  if known; then
    echo "namespace $TEMPORAL_NAMESPACE exists"
    exit 0
  fi
  # Retention is set by `hookkeeper migrate`. This may fail while the server is still starting.
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 30d || true
  sleep 1
done
echo "the server at $TEMPORAL_ADDRESS did not create the namespace" >&2
exit 1
