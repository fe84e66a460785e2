#!/usr/bin/env bash
# ggml's own operator test on the plug-in with everything kept:
#   backend_ops.sh <llama.cpp bin folder> <plug-in> <config> [regular expression on the cases]
# Prints how many cases are supported and why the others are not.
set -euo pipefail
bin=$1 plugin=$2 config=$3 cases=${4:-}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

arguments=(test -o FLASH_ATTN_EXT -b SHADOWATTN)
[[ -n $cases ]] && arguments+=(-p "$cases")
status=0
GGML_BACKEND_PATH=$plugin SHADOWATTN="$config,report=$work/report.json" \
  "$bin/test-backend-ops" "${arguments[@]}" >"$work/log" 2>&1 || status=$?
sed -i 's/\x1b\[[0-9;]*m//g' "$work/log"  # colours

passed=$(grep -c '^ *FLASH_ATTN_EXT(.*OK$' "$work/log" || true)
declined=$(grep -c '^ *FLASH_ATTN_EXT(.*not supported' "$work/log" || true)
failed=$(grep -c '^ *FLASH_ATTN_EXT(.*FAIL' "$work/log" || true)
echo "config $config, cases ${cases:-all}"
echo "$((passed + failed)) supported: $passed passed, $failed failed; $declined left to the host:"
sed -n '/"declined"/,$p' "$work/report.json" |
  sed -n 's/^ *"reason": "\(.*\)",*$/  \1/p; s/^ *"count": \([0-9]*\),*$/    queries: \1/p' |
  paste - - || true

if ((status != 0 || failed != 0)); then
  grep -B1 'FAIL' "$work/log" | tail -20 >&2 || true
  tail -5 "$work/log" >&2
  echo "FAILED: exit status $status" >&2
  exit 1
fi
if ((passed == 0)); then
  echo "FAILED: no case is supported" >&2
  exit 1
fi
