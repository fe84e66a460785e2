#!/usr/bin/env bash
# Every mistake gives one plain line, the right status, and leaves nothing behind.
. "$(dirname "$0")/lib.sh"
make_document document.txt 20
: >empty
printf ' \n\n' >blank
echo 'once upon a time' >story.gguf
mkdir folder
before=$(ls -A)

# refused <status> <pattern> <arguments of run that differ from good ones>...
refused() {
  local status=$1 pattern=$2
  shift 2
  local options=(-m "$model" -f document.txt)
  # A later -m or -f takes the place of the good one: CLI11 refuses an option given twice.
  for argument in "$@"; do
    if [[ $argument == -m ]]; then options=(-f document.txt); fi
    if [[ $argument == -f ]]; then options=(-m "$model"); fi
  done
  run_case "$status" "$shadowattn" run "${options[@]}" -p Who -n 2 --report report.json "$@"
  expect_err "^shadowattn: .*$pattern"
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $*"
  [[ ! -s out ]] || fail "an answer: $*"
  rm -f out err
  [[ $(ls -A) == "$before" ]] || fail "left behind: $(ls -A)"
}

refused 1 'No such file' -m missing.gguf
refused 1 'empty' -m empty
refused 1 'not a GGUF file' -m story.gguf
refused 1 'folder' -m folder
for bytes in 1 4 100 60000 1000000 2168000; do
  head -c "$bytes" "$model" >"$work.part"
  refused 1 '(download it again|not a GGUF)' -m "$work.part"
  rm "$work.part"
done

refused 1 'No such file' -f missing.txt
refused 1 'folder' -f folder
refused 1 'holds no text' -f empty
refused 1 'holds no text' -f blank
refused 1 'standard input holds no text' -f -
if ((EUID != 0)); then  # root reads everything
  touch "$work.secret"
  chmod 000 "$work.secret"
  refused 1 'Permission denied' -f "$work.secret"
  rm "$work.secret"
fi
make_document "$work.long" 4000
refused 1 'the document has [0-9,]+ tokens.* only 32,7[0-9]+ fit' -f "$work.long"
rm "$work.long"
refused 1 'the document has [0-9,]+ tokens.* only [0-9]+ fit into a context of 64' -c 64

for keep in 0 -0.1 1.0001 nan many; do refused 2 'keep.*above 0 and at most 1' "--keep=$keep"; done
refused 2 'shadow, dense, off' --mode fast
refused 2 'threads' -t 0
refused 2 'threads' -t many
refused 2 'tokens' -n 0
refused 2 'rows' --rows 65
refused 2 'auto or off' --gate on
refused 2 'fast or f32' --precision bf16
refused 2 'pilot_step' --pilot-step 0
refused 2 'unexpected|not expected' surplus

report_refused() {
  run_case 1 "$shadowattn" run -m "$model" -f document.txt -p Who -n 2 --report "$1"
  expect_err '^shadowattn: cannot write '
  [[ $(wc -l <err) == 1 && ! -s out ]] || fail "not one line for the report path $1"
}
report_refused missing-folder/report.json
report_refused folder
report_refused document.txt/report.json

for arguments in "" "sing" "run" "run -m x -f y" "demo surplus" "demo --context 1" "devices 1"; do
  # shellcheck disable=SC2086
  run_case 2 "$shadowattn" $arguments
  expect_err '^shadowattn: .*--help'
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $arguments"
done
