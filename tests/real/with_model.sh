#!/usr/bin/env bash
# with_model.sh <command> [<argument>...]: runs it with SmolLM2's file in SHADOWATTN_MODEL. Only
# looks for the file, so that tests side by side do not all ask the registry; without a command it
# fetches the file.
# Where the file cannot be had: exit status 77, a skipped test; with CI set 1, a failed one.
set -euo pipefail
fetch_model=$(cd "$(dirname "$0")/../.." && pwd)/scripts/fetch-model

options=()
if (($#)); then options=(--offline); fi
if ! output=$("$fetch_model" "${options[@]}"); then
  echo "no test with SmolLM2: scripts/fetch-model does not have it" >&2
  if [[ -n ${CI:-} ]]; then
    echo "FAILED: in CI (CI=$CI) this test must run" >&2
    exit 1
  fi
  exit 77
fi
model=${output##*$'\n'}
if [[ ! -r $model ]]; then
  echo "FAILED: scripts/fetch-model names \"$model\", which cannot be read" >&2
  exit 1
fi
if (($# == 0)); then exit 0; fi
SHADOWATTN_MODEL=$model exec "$@"
