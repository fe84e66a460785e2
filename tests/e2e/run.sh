#!/usr/bin/env bash
# A document, a question, an answer: in every mode, from a file and from standard input.
. "$(dirname "$0")/lib.sh"
make_document document.txt 150

ask() { run_case 0 "$shadowattn" run -m "$model" -f document.txt -p "$question" -n 4 "$@"; }

for mode in off dense shadow; do
  ask --mode "$mode" --report report.json
  expect_out '^ ?silence'
  expect_err '^first token after +[0-9]'
  expect_err '^peak memory'
  grep -q "\"mode\": \"$mode\"" report.json || fail "no mode in the report"
  cp out "$mode.out"
done
expect_err '^attention +shadow, relative output error 2.0 % a layer'
expect_err '^kept +[0-9.]+ %'
! grep -q '^left to llama.cpp' err || fail "something was left to llama.cpp"
grep -Eq '"calls": [1-9]' report.json || fail "the report counts no calls"
cmp -s off.out shadow.out || fail "shadow and off give different answers"

"$shadowattn" run -m "$model" -f - -p "$question" -n 4 <document.txt >out 2>err || fail "stdin"
cmp -s out shadow.out || fail "another answer from standard input"

# Who attends to the answer: nobody but llama.cpp on request, and in short contexts.
ask --min-rows 32
expect_err '^left to llama.cpp +layers 0-3: fewer than 32 rows'
cmp -s out off.out || fail "another answer with --min-rows 32"
make_document short.txt 30
run_case 0 "$shadowattn" run -m "$model" -f short.txt -p "$question" -n 4
expect_err '^left to llama.cpp +layers 0-3: few rows and fewer than 1024 keys'

# Without the gate nothing is dense because it would be faster.
ask --gate off --precision f32 --pilot-step 2 --report report.json
! grep -q 'predicted to be faster' err report.json || fail "--gate off has no effect"
grep -q '"gate": "off"' report.json && grep -q '"precision": "f32"' report.json &&
  grep -q '"pilot_step": 2' report.json || fail "an option did not reach the plug-in"

# Short enough to be attended to whole: the summary says so.
ask --floor 5000
expect_err "^dense +layers 0-3, [0-9]+ calls: "

ask --json --keep 0.5
expect_out '"answer": " ?silence'
expect_out '"keep": 0.5'

# The same seed, the same answer. (The gate decides by times, and rounds differently.)
ask --temp 1 --seed 5 --gate off
cp out first.out
ask --temp 1 --seed 5 --gate off
cmp -s out first.out || fail "one seed, two answers"

# Invalid UTF-8 is replaced, counted, and no reason to stop.
printf 'The caf\xe9 and the \xff\xfe end. %s' "$(cat document.txt)" >latin1.txt
run_case 0 "$shadowattn" run -m "$model" -f latin1.txt -p "$question" -n 4
expect_out '^ ?silence'
expect_err '^shadowattn: warning: .* 3 bytes were replaced'

run_case 0 "$shadowattn" run -m "$model" -f document.txt -p "$question" -n 4 -c 2300
expect_out '^ ?silence'

for command in "" run demo devices trace; do
  # shellcheck disable=SC2086
  run_case 0 "$shadowattn" $command --help
  expect_out 'shadowattn (demo|run|devices|trace)'
done
run_case 0 "$shadowattn" --version
expect_out '^shadowattn [0-9.]+ \(llama.cpp '

# The environment of other llama.cpp programs changes nothing here.
SHADOWATTN=mode=nonsense run_case 0 "$shadowattn" run -m "$model" -f document.txt -p "$question" -n 4
cmp -s out shadow.out || fail "SHADOWATTN changed the answer"
! grep -q nonsense err || fail "SHADOWATTN was read"
plugin=$(dirname "$shadowattn")/../lib/libggml-shadowattn.so
GGML_BACKEND_PATH=$plugin run_case 0 "$shadowattn" run -m "$model" -f document.txt -p "$question" \
  -n 4 --mode off
cmp -s out off.out || fail "GGML_BACKEND_PATH changed the answer"
