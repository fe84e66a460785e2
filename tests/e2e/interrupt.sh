#!/usr/bin/env bash
# Ctrl-C while the prompt is read: the figures so far, status 130, no report.
. "$(dirname "$0")/lib.sh"
make_document document.txt 1100

# interrupt <command>...: sends SIGINT once progress is shown.
interrupt() {
  "$@" >out 2>err &
  local pid=$! status=0
  for ((i = 0; i < 1000; ++i)); do
    if grep -q 'tokens/s' err; then break; fi
    kill -0 "$pid" 2>/dev/null || fail "ended before it could be interrupted"
    sleep 0.1
  done
  kill -INT "$pid"
  wait "$pid" || status=$?
  ((status == 130)) || fail "status $status, not 130"
}

# Small steps on one thread make it slow enough to be caught.
interrupt "$shadowattn" run -m "$model" -f document.txt -p "$question" -t 1 -b 16 --mode off \
  --report report.json
expect_err '^prompt .*stopped after'
expect_err '^interrupted$'
expect_no_file report.json
[[ $(ls -A) == $'document.txt\nerr\nout' ]] || fail "left behind: $(ls -A)"

interrupt "$shadowattn" demo --context 16000 -t 1
[[ ! -s out ]] || fail "a table of a demo that did not end"
expect_err '^shadowattn: interrupted$'

rm -f out err
interrupt "$lab" record -m "$model" -f document.txt -o recording.gguf -t 1 --rows 16
expect_err '^shadowattn-lab: interrupted$'
[[ $(ls -A) == $'document.txt\nerr\nout' ]] || fail "left behind: $(ls -A)"

rm -f out err
interrupt "$shadowattn" trace -m "$model" -f document.txt -o trace.json --svg timeline.svg -t 1 -b 16
expect_err '^shadowattn: interrupted$'
[[ $(ls -A) == $'document.txt\nerr\nout' ]] || fail "left behind: $(ls -A)"
