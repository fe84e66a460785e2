#!/usr/bin/env bash
# shellcheck disable=SC2034  # the scripts use the variables
# For the scripts in this folder: a work folder that goes away, and checks that say what failed.
set -euo pipefail

shadowattn=${SHADOWATTN_COMMAND:?path of the built command}
lab=${SHADOWATTN_LAB:-}                # shadowattn-lab
model=${SHADOWATTN_MODEL:-}          # the reference model
edit_model=${SHADOWATTN_EDIT_MODEL:-}  # shadowattn_edit_model
unset SHADOWATTN SHADOWATTN_ISA GGML_BACKEND_PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without -m commands shall take the reference model, and say so, whatever this machine's cache holds.
export SHADOWATTN_CACHE_DIR=$work/no-cache
cd "$work"

fail() {
  echo "FAILED: $*" >&2
  for file in out err; do
    if [[ -s $file ]]; then sed "s/^/  $file: /" "$file" >&2; fi
  done
  exit 1
}

# run_case <status> <command>...: runs it with stdout in ./out and stderr in ./err.
run_case() {
  local expected=$1 status=0
  shift
  "$@" >out 2>err </dev/null || status=$?
  ((status == expected)) || fail "status $status, not $expected: $*"
}

expect_out() { grep -qE -- "$1" out || fail "standard output has no /$1/"; }
expect_err() { grep -qE -- "$1" err || fail "standard error has no /$1/"; }
expect_no_file() { [[ ! -e $1 ]] || fail "$1 exists"; }

# make_document <file> <sentences>: prose with one fact in the middle.
make_document() {
  local who=("The captain" "My uncle" "The old doctor" "Her sister" "The stranger" "The boy")
  local did=("walked slowly" "rode alone" "sat for an hour" "stood waiting" "came back" "was seen")
  local where=("by the river" "near the church" "in the garden" "upon the hill" "under the trees")
  local when=("that evening" "in the morning" "after the rain" "before dark" "in the summer")
  RANDOM=1
  for ((i = 0; i < $2; ++i)); do
    printf '%s %s %s %s.' "${who[RANDOM % 6]}" "${did[RANDOM % 6]}" "${where[RANDOM % 5]}" \
      "${when[RANDOM % 5]}"
    if ((i == $2 / 2)); then printf ' The code of amber falcon is silence.'; fi
    if ((i % 6 == 5)); then printf '\n'; else printf ' '; fi
  done >"$1"
}
question=' The code of amber falcon is'
