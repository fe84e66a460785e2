#!/usr/bin/env bash
# make_speed_model: the model loads, reads and answers; one seed, one file.
. "$(dirname "$0")/lib.sh"
make_speed_model=${SHADOWATTN_MAKE_SPEED_MODEL:?path of make_speed_model}
make_document document.txt 20

# small <options>...: two layers, few tokens.
small() { run_case 0 "$make_speed_model" --layers 2 --vocab 512 "$@"; }

for shape in qwen2-0.5b qwen2-1.5b smollm2-135m llama-3.2-1b; do
  small --shape "$shape" -o model.gguf
  expect_out "^q4_0 +14 "
  run_case 0 "$shadowattn" run -m model.gguf -f document.txt -p Who -n 2 --floor 64 --gate off --attn-error 0 --keep 0.2
  expect_err '^kept +2[0-9.]+ %'  # all, were any activation not finite
done
for type in q8_0 f16; do
  small --shape smollm2-135m --type "$type" -o model.gguf
  expect_out "^$type +15 "
  run_case 0 "$shadowattn" run -m model.gguf -f document.txt -p Who -n 2
done

small --shape smollm2-135m --seed 7 -o first.gguf
small --shape smollm2-135m --seed 7 -o second.gguf
cmp -s first.gguf second.gguf || fail "one seed, two files"
small --shape smollm2-135m --seed 8 -o third.gguf
! cmp -s first.gguf third.gguf || fail "two seeds, one file"

run_case 2 "$make_speed_model" --shape gpt5 -o x.gguf
expect_err '^make_speed_model: .*shape'
run_case 2 "$make_speed_model" --shape smollm2-135m --vocab 100 -o x.gguf
expect_err '^make_speed_model: .*vocab'
run_case 1 "$make_speed_model" --shape smollm2-135m -o missing/x.gguf
expect_err '^make_speed_model: cannot write missing/x.gguf'

# Ctrl-C leaves nothing behind.
"$make_speed_model" --shape llama-3.2-1b --type f16 -o big.gguf >out 2>err &
pid=$! status=0
for ((i = 0; i < 100; ++i)); do
  if compgen -G '.big.gguf.*' >/dev/null; then break; fi
  sleep 0.02
done
kill -INT "$pid"
wait "$pid" || status=$?
((status == 130)) || fail "status $status after Ctrl-C, not 130"
[[ -z $(compgen -G '.big*') && ! -e big.gguf ]] || fail "left behind: $(ls -A)"
