#!/usr/bin/env bash
# Stock llama-completion and llama-bench with the plug-in, without any flash attention flag:
#   stock_host.sh <llama.cpp bin folder> <plug-in> <model> <good|bad|bench>
set -euo pipefail
bin=$1 plugin=$2 model=$3 what=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  for file in out err; do
    [[ -e $work/$file ]] && sed "s/^/$file: /" "$work/$file" | tail -30 >&2
  done
  exit 1
}

# About 1100 tokens with a fact in the middle.
{
  for i in {1..100}; do printf ' the men of the boat said that it was night'; done
  printf ' The code of amber falcon is velvet.'
  for i in {1..20}; do printf ' and they went to the house by the road'; done
  printf ' The code of amber falcon is'
} >"$work/prompt"

# complete <config> [argument...]: runs the program; its answer in $answer, its messages in $work/err.
# llama.cpp prints from a thread that it does not wait for when it ends, so the end of the output
# (two line feeds) may be missing on a busy machine: then it is run again.
complete() {
  local config=$1 try
  shift
  for try in {1..12}; do
    GGML_BACKEND_PATH=$plugin SHADOWATTN=$config "$bin/llama-completion" -m "$model" -f "$work/prompt" \
      -n 4 -c 2048 -t 2 --temp 0 -no-cnv --no-warmup --no-display-prompt --seed 1 \
      "$@" >"$work/out" 2>"$work/err" </dev/null || fail "llama-completion exited with $? ($config)"
    answer=$(cat "$work/out")
    [[ -n $answer && $(tail -c 2 "$work/out" | od -An -c | tr -d ' ') == '\n\n' ]] && return
  done
  fail "no complete answer in $try runs ($config)"
}

# number <key>: the first number of that name in the report.
number() {
  sed -n "s/^ *\"$1\": \([0-9.]*\),*$/\1/p" "$work/report.json" | head -1
}

good() {
  complete "mode=off"
  local host_answer=$answer config
  for config in mode=dense mode=shadow,keep=0.5 mode=shadow,keep=0.5,gate=off; do
    rm -f "$work/report.json"
    complete "$config,report=$work/report.json"
    grep 'shadowattn:' "$work/err" | grep -qv 'of the tokens; ' && fail "messages without a cause"
    [[ -e $work/report.json ]] || fail "no report"
    (($(number calls) >= 8)) || fail "no prefill call reached the plug-in: $(cat "$work/report.json")"
    grep -q 'fewer than 32 rows' "$work/report.json" || fail "the trial of -fa auto is not declined"
    # Four layers; a prompt of 1100 tokens is three calls, and at least two tokens follow.
    (($(number calls) >= 20)) || fail "decode calls are left to the host: $(cat "$work/report.json")"
    [[ $answer == "$host_answer" ]] || fail "$config answers $answer, the host $host_answer"
    [[ $config != *gate=off || $(number kept_share) == 0.* ]] || fail "everything kept without the gate"
    echo "$config: $(number calls) calls, kept share $(number kept_share), answer$answer"
  done
  complete "mode=dense,min_rows=32,report=$work/report.json"
  (($(number calls) == 12)) || fail "min_rows=32 and not the 12 calls of the prompt"
  complete "mode=off,report=$work/report.json"
  (($(number calls) == 0)) || fail "mode=off claimed something"

  # A quantised cache of the one kind that the plug-in takes.
  complete "mode=off" -ctk q8_0 -ctv q8_0
  host_answer=$answer
  complete "mode=dense,report=$work/report.json" -ctk q8_0 -ctv q8_0
  (($(number calls) >= 8)) || fail "q8_0 did not reach the plug-in: $(cat "$work/report.json")"
  [[ $answer == "$host_answer" ]] || fail "with q8_0 dense answers $answer, the host $host_answer"
  echo "q8_0: $(number calls) calls, answer$answer"

  # What the plug-in cannot take runs as without it, and the report says why.
  complete "report=$work/report.json" -ctk q4_0
  (($(number calls) == 0)) && grep -q '"k type q4_0"' "$work/report.json" ||
    fail "a K cache of q4_0 is not declined: $(cat "$work/report.json")"
}

# A bad config costs one line and nothing else.
bad() {
  local config expect
  while IFS='|' read -r config expect; do
    complete "$config"
    (($(grep 'shadowattn:' "$work/err" | grep -cv 'of the tokens; ') == 1)) || fail "not one message for $config"
    grep 'shadowattn:' "$work/err" | grep -qF -- "$expect" || fail "$config: no \"$expect\""
    grep 'shadowattn:' "$work/err"
  done <<LINES
kepe=0.2|unknown key "kepe"
keep=0|bad value "0" for key "keep"
keep=nan|above 0 and at most 1
mode=sparse|shadow, dense, off
isa=mmx|isa
rows=|no value for key "rows"
nonsense|expected key=value
report=$work/no/such/folder/r.json|running without a report
report=$work|it is a directory
profile=$work/no.json|the profile is not used: $work/no.json: there is no file
profile=$work/prompt|the profile is not JSON
LINES
}

bench() {
  GGML_BACKEND_PATH=$plugin SHADOWATTN="report=$work/report.json" "$bin/llama-bench" -m "$model" \
    -p 512 -n 8 -t 2 -r 1 >"$work/out" 2>"$work/err" || fail "llama-bench exited with $?"
  grep -q 'SHADOWATTN' "$work/out" || fail "the backend column does not show the plug-in"
  (($(number calls) >= 4)) || fail "no prefill call reached the plug-in"
  cat "$work/out"
}

case $what in
  good | bad | bench) "$what" ;;
  *) fail "unknown test $what" ;;
esac
echo "passed"
