#!/usr/bin/env bash
# The timeline of a short text: what is written, drawn and printed, and every mistake.
. "$(dirname "$0")/lib.sh"
check=${SHADOWATTN_CHECK_TRACE:?path of shadowattn_check_trace}
make_document document.txt 150

trace() { run_case 0 "$shadowattn" trace -m "$model" -f document.txt -t 2 "$@"; }

trace -o trace.json --svg timeline.svg --layer 1 -v
expect_out '^pipeline planned: [0-9,]+ tokens in '
expect_out '^pipeline off: '
expect_out '^device npu-sim +[0-9.,]+ +[0-9.]+ %'
expect_out '^CPU [01] +[0-9.,]+ +[0-9.]+ %'
expect_out '^3 +[0-9]+ +[0-9]+ '
expect_err 'npu-sim is a simulation'
"$check" device prepare device wait select attend <trace.json || fail "the timeline"
for text in '<?xml' 'layer 1' 'pipeline planned' 'no pipeline' '>device npu-sim<' '>CPU 0<' '</svg>'; do
  grep -qF -- "$text" timeline.svg || fail "no $text in the picture"
done

# Made-up text; without a device; nothing written.
run_case 0 "$shadowattn" trace -c 1500 --device cpu -t 1 --svg cpu.svg --json
expect_out '"tokens": 1500'
expect_out '"unit": "CPU 0"'
expect_out '"device": "cpu"'
! grep -q '"unit": "device' out || fail "a device without a device"
grep -qF 'estimate on the CPU' cpu.svg || fail "the picture without a device"
run_case 0 "$shadowattn" trace -c 1500 --device cpu -t 1 -o cpu.json
"$check" no-device prepare pilot select attend <cpu.json || fail "the timeline without a device"

# Lost on the way: the rest is the CPU's, and it is said.
trace --config fault=lost@3 -o lost.json
expect_err '^shadowattn: npu-sim is not used any more'
"$check" any pilot select attend <lost.json || fail "the timeline of a lost device"

# The plug-in's own file, through another subcommand.
run_case 0 "$shadowattn" run -m "$model" -f document.txt -p "$question" -n 2 --gate off \
  --device npu-sim --pipeline fifo --config trace=run.json --report report.json
"$check" device prepare device select attend <run.json || fail "the timeline of run"
grep -q '"pipeline": "fifo"' report.json && grep -Eq '"launches": [1-9]' report.json ||
  fail "the device is not in the report"

rm -f out err
before=$(ls -A)
# refused <status> <pattern> <option>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$shadowattn" trace -m "$model" -f document.txt "$@"
  expect_err "^shadowattn: .*$pattern"
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $*"
  rm -f out err
  [[ $(ls -A) == "$before" ]] || fail "left behind: $(ls -A)"
}
refused 1 'no layer 4: the model has layers 0 to 3' -o x.json --layer 4
refused 1 'no sparse attention to draw' -o x.json --svg x.svg -c 200
refused 1 'the text has only [0-9,]+ tokens, -c asks for 16,000' -o x.json -c 16000
refused 1 'cannot write' -o no/such/folder/x.json
refused 1 'cannot write' --svg no/such/folder/x.svg
refused 1 'device npu-sim cannot be used' -o x.json --config soc=missing.json
refused 2 'fifo or planned' --svg x.svg --pipeline off
refused 2 'device' --device tpu
refused 2 'pipeline' --pipeline fast
refused 2 'trace is set by this subcommand' --config trace=x.json
refused 2 'layer' --layer=-1
refused 2 'unexpected|not expected' surplus
for command in run demo bench; do
  options=()
  if [[ $command == run ]]; then options=(-m "$model" -f document.txt -p Who); fi
  run_case 1 "$shadowattn" "$command" "${options[@]}" --device npu-sim --config soc=missing.json
  expect_err '^shadowattn: the device npu-sim cannot be used'
done
