#!/usr/bin/env bash
# What was built, what is here, what is used.
. "$(dirname "$0")/lib.sh"

run_case 0 "$shadowattn" devices
cat out
for family in quantize pilot_dot select attend; do
  expect_out "^ +$family .*in use$"
done
expect_out '^its device +SHADOWATTN'
for device in cpu npu-sim hexagon; do
  expect_out "^ +$device +[^ ]"
done
expect_out '^ +self-test: ok$'
run_case 0 "$shadowattn" devices --json
expect_out '"loads": true'
expect_out '"name": "npu-sim"'
expect_out '"self_test": "ok"'

SHADOWATTN_ISA=scalar run_case 0 "$shadowattn" devices
expect_out '^level in use +scalar'
SHADOWATTN_ISA=mmx run_case 1 "$shadowattn" devices
expect_err '^shadowattn: SHADOWATTN_ISA: '
