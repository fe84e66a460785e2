#!/usr/bin/env bash
# The least that shows the command at work: a short text, every mode, lists that leave tokens out.
. "$(dirname "$0")/lib.sh"
make_document document.txt 40

ask() { run_case 0 "$shadowattn" run -m "$model" -f document.txt -p "$question" -n 2 "$@"; }

ask --mode off
expect_out '^ ?silence'
ask --mode dense
expect_out '^ ?silence'
ask --gate off --floor 64 --keep 0.5 --report report.json
expect_out '^ ?silence'
expect_err '^kept +[0-9.]+ %'
grep -Eq '"kept_share": 0\.' report.json || fail "no token was left out"
