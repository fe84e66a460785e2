#!/usr/bin/env bash
# A profile is made, found, used, refused; making one goes on after Ctrl-C.
. "$(dirname "$0")/lib.sh"
make_document document.txt 300
cp "$model" model.gguf

profile() { "$shadowattn" profile -m model.gguf -f document.txt -c 1024 "$@"; }
# One fixed share, and no choice by predicted times: the same answer every time.
fixed=(--attn-error 0 --keep 0.3 --gate off)
answer() { run_case 0 "$shadowattn" run -m model.gguf -f document.txt -p "$question" -n 8 "${fixed[@]}" "$@"; }

answer --report none.json
cp out answer.txt
! grep -q 'profile' err || fail "a profile before there is one"

# Made beside the model, and found there.
run_case 0 profile
expect_err '^all +[0-9.]+ % +[0-9.]+ % +as chosen$'
expect_err '^model.shadow.json: measured on 1,024 tokens of a text'
expect_no_file model.shadow.json.part
grep -q '"format": "shadowattn-profile"' model.shadow.json || fail "no profile"
answer --report used.json
! grep -q 'warning' err || fail "the profile is not taken"
grep -q '"profile": "model.shadow.json"' used.json || fail "the profile is not used"
answer --profile none --report none.json
! grep -q 'model.shadow.json' none.json || fail "--profile none uses one"
answer --profile ./model.shadow.json --report used.json
grep -q '"profile": "./model.shadow.json"' used.json || fail "the profile given is not used"
answer --mode dense
! grep -q 'profile' err || fail "a warning where no profile is needed"

# What cannot be used is a warning, and the answer is the one without.
refused() {
  local pattern=$1
  shift
  answer "$@"
  expect_err "^shadowattn: warning: the profile is not used: .*$pattern"
  [[ $(grep -c warning err) == 1 ]] || fail "not one warning"
  cmp -s out answer.txt || fail "another answer"
}
cp model.shadow.json good.json
head -c 300 good.json >model.shadow.json
refused 'model.shadow.json: the profile is not JSON'
sed 's/"version": 1/"version": 2/' good.json >model.shadow.json
refused 'version must be 1, not 2'
sed '0,/"keep": *[0-9.]*/s//"keep": 1.5/' good.json >model.shadow.json
refused 'layers\[0\].heads\[0\].keep must be in \(0, 1\], not 1.5'
sed 's/"attn_error": [0-9.]*,/"attn_error": NaN,/' good.json >model.shadow.json
refused 'the profile is not JSON'
sed 's/fnv1a64:[0-9a-f]*/fnv1a64:0123456789abcdef/' good.json >foreign.json
refused 'foreign.json: it was made for other weights' --profile foreign.json
sed 's/"qwen2"/"llama"/' good.json >foreign.json
refused 'it was made for a model of the architecture llama, this one is qwen2' --profile foreign.json
refused 'no such.json: there is no file' --profile 'no such.json'
refused 'commas' --profile a,b.json
cp good.json model.shadow.json

# Every way to ask for what cannot be.
refused_profile() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$shadowattn" profile -m model.gguf -o x.json "$@"
  expect_err "^shadowattn: .*$pattern"
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $*"
  expect_no_file x.json
  expect_no_file x.json.part
}
refused_profile 1 'only 100 tokens would be read' -f document.txt -c 100
refused_profile 1 'the text has only [0-9,]+ tokens, -c asks for 100,000' -f document.txt -c 100000
refused_profile 1 'cannot read the document' -f missing.txt
refused_profile 2 'attn-error' --attn-error 0
refused_profile 2 'attn-error' --attn-error nan
refused_profile 2 'budget' --budget 1.5
refused_profile 2 'method' --method guess
run_case 1 "$shadowattn" profile -m model.gguf -o missing/x.json
expect_err 'cannot write missing/x.json'

# By importance, with fewer tokens than layers times heads would need for much: shares differ.
run_case 0 profile -o important.json --method importance --budget 0.3 --loss-tokens 64
expect_err 'shares by importance, 30.0 % of the tokens on average'
[[ $(grep -o '"keep": *[0-9.]*' important.json | sort -u | wc -l) -gt 1 ]] || fail "equal shares"

# Ctrl-C: what is measured is kept, and the next run goes on from there.
make_document long.txt 1100
again=("$shadowattn" profile -m model.gguf -f long.txt -c 6000 -o resumed.json
  --method importance --loss-tokens 6000 -t 1)
"${again[@]}" >out 2>err &
pid=$!
for ((i = 0; i < 1000; ++i)); do
  if [[ -e resumed.json.part ]] && grep -q '"1:\*"' resumed.json.part; then break; fi
  kill -0 "$pid" 2>/dev/null || fail "ended before it could be interrupted"
  sleep 0.05
done
kill -INT "$pid"
status=0
wait "$pid" || status=$?
((status == 130)) || fail "status $status, not 130"
expect_err '^shadowattn: interrupted'
expect_no_file resumed.json
[[ -s resumed.json.part ]] || fail "nothing was kept"
run_case 0 "${again[@]}"
expect_err 'going on with resumed.json.part: 4 layers and [1-9][0-9]* losses'
expect_no_file resumed.json.part
# Another text is another profile: the part is not taken over.
echo '{"format": "shadowattn-profile-part"' >other.json.part
run_case 0 profile -o other.json
! grep -q 'going on' err || fail "a damaged part was taken over"
