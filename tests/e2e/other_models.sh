#!/usr/bin/env bash
# Models unlike the reference model: attention that the plug-in cannot take, a chat template.
. "$(dirname "$0")/lib.sh"
make_document document.txt 150

# The same weights as 32 heads of 8: the engine takes multiples of 16.
"$edit_model" "$model" odd.gguf qwen2.attention.head_count=32 qwen2.attention.head_count_kv=16 \
  || fail "edit_model"
run_case 0 "$shadowattn" run -m odd.gguf -f document.txt -p "$question" -n 4 --report report.json
expect_err 'left to llama.cpp +layers 0-3: .*head'
grep -q '"declined"' report.json || fail "the report does not say what was declined"
cp out shadow.out
run_case 0 "$shadowattn" run -m odd.gguf -f document.txt -p "$question" -n 4 --mode off
cmp -s out shadow.out || fail "not llama.cpp's own answer"
# A demo that compares llama.cpp with itself did not run.
run_case 1 "$shadowattn" demo -m odd.gguf --context 1024 --quotations 2
expect_err '^shadowattn: the plug-in computed no attention'

"$edit_model" "$model" chat.gguf 'tokenizer.chat_template={{ "<|im_start|>" }}<|im_end|>' \
  || fail "edit_model"
run_case 0 "$shadowattn" run -m chat.gguf -f document.txt -p 'Where is it?' -n 4
run_case 0 "$shadowattn" demo -m chat.gguf --context 1024 --quotations 2
expect_out '^first token after'
