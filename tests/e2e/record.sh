#!/usr/bin/env bash
# Attention is recorded as asked, and every mistake gives one plain line and leaves nothing behind.
. "$(dirname "$0")/lib.sh"
make_document document.txt 100

record() { run_case 0 "$lab" record -m "$model" -f document.txt "$@"; }

record -o one.gguf
expect_err '^0 +f32 64 x 512 x 4 +f16 64 x [0-9]+ x 2 +f16 64 x [0-9]+ x 2 +f16 [0-9]+ x 512$'
for layer in 2 3; do expect_err "^$layer +f32"; done
for name in layer.0.q layer.2.k layer.3.v layer.3.mask layer.3.scale recording.tokens; do
  grep -aq "$name" one.gguf || fail "no $name in the file"
done
record -o two.gguf
cmp -s one.gguf two.gguf || fail "the same text, two recordings"

record -o two.gguf --layers 1,3 -c 700 --rows 100 --ctk q8_0 --ctv q8_0
expect_err '^1 +f32 64 x 100 x 4 +q8_0 64 x 768 x 2 +q8_0 64 x 768 x 2 +f16 768 x 100$'
expect_err 'after 700 tokens of qwen2'
! grep -aq 'layer.0.q' two.gguf || fail "a layer that was not asked for"

# The plug-in in the same process changes nothing: llama.cpp's own attention is recorded.
plugin=$(dirname "$shadowattn")/../lib/libggml-shadowattn.so
GGML_BACKEND_PATH=$plugin record -o two.gguf
cmp -s one.gguf two.gguf || fail "another recording with the plug-in loaded"

rm -f out err
before=$(ls -A)
# refused <status> <pattern> <option>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$lab" record -m "$model" -f document.txt -o x.gguf "$@"
  expect_err "^shadowattn-lab: .*$pattern"
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $*"
  rm -f out err
  [[ $(ls -A) == "$before" ]] || fail "left behind: $(ls -A)"
}
refused 1 'no layer 4: the model has layers 0 to 3' --layers 0,4
refused 1 'no layer -1' --layers=-1
refused 1 'only 100 tokens would be read, too few for 512 rows' -c 100
refused 1 'the text has only [0-9,]+ tokens, -c asks for 16,000' -c 16000
refused 2 'layers' --layers 0,x
refused 2 'f16 or q8_0' --ctk q3
refused 2 'rows' --rows 0
