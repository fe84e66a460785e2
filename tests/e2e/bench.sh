#!/usr/bin/env bash
# The benchmark measures what it says, in all its forms; mistakes and Ctrl-C end it cleanly.
. "$(dirname "$0")/lib.sh"
check_bench=${SHADOWATTN_CHECK_BENCH:?path of shadowattn_check_bench}

# 2048 tokens are enough for shadow attention to be sparse: its floor is 256.
run_case 0 "$shadowattn" bench -p 64 -n 4 -d 0,2048 -r 2 --keep 0.2,0.1 -o json --depth-curve d.svg
"$check_bench" json out 4 llama dense shadow0.2 shadow0.1 || fail "the JSON"
"$check_bench" xml d.svg || fail "the picture"
[[ $(grep -c '"n_depth": 2048' out) == 8 ]] || fail "not 8 rows at depth 2048"
[[ $(grep -c '"n_gen": 4' out) == 8 ]] || fail "not 8 rows of generation"
grep -q '>shadow 0.1<' d.svg || fail "a line of the picture is missing"

run_case 0 "$shadowattn" bench -p 64 -n 4 -d 256,0 -r 1 --attn dense
expect_out '^\| model .*\| attn .*\| x llama \| +kept \| attn CPU s/1k \| CPU s/1k \|'
expect_out '^\| qwen2 .*\| CPU +\| .*\| llama \(fa [01]\) \| +pp64 \|.* ± 0.00 \| +1.00 \|.* - \|$'
expect_out '^\| qwen2 .*\| SHADOWATTN .*\| dense +\| +tg4 @ d256 \|.*/[0-9.]+ \|$'
[[ $(grep -c '^| ' out) == 10 ]] || fail "not a head and 8 rows"
[[ $(sed -n '3s/.*\(pp[0-9]*\) |.*/\1/p' out) == pp64 ]] || fail "depth 0 does not come first"
expect_out '^build: shadowattn [0-9.]+, llama.cpp '
expect_out '^text: state-of-the-union-1907.txt$'

run_case 0 "$shadowattn" bench -p 32,64 -n 0 -d 0 -r 1 -fa 1 --attn shadow -o csv
"$check_bench" csv out 5 || fail "the CSV"
run_case 0 "$shadowattn" bench -p 64 -n 0 -d 0 -r 1 -fa 1 --attn shadow --attn-error 0.1
expect_out '^\| .*\| shadow +\| +pp64 \|'

# Another text, and two depths of both of llama.cpp's kinds.
make_document doc.txt 200
run_case 0 "$shadowattn" bench -m "$model" -f doc.txt -p 8 -n 0 -d 64,1024 -r 2 --fa both --attn dense -o json
"$check_bench" json out 2 llama dense || fail "the JSON of another text"
grep -q '"text": "doc.txt"' out || fail "another text was read"
run_case 1 "$shadowattn" bench -m "$model" -f doc.txt -d 65536
expect_err '^shadowattn: the text has [0-9,]+ tokens, and depth and test need 66,048; give a longer text'

# A quantised cache in all columns, without flash attention in none.
run_case 0 "$shadowattn" bench -p 64 -n 4 -d 256 -r 1 --keep 0.2 -ctk q8_0 -ctv q8_0 -o json
"$check_bench" json out 2 llama dense shadow0.2 || fail "the JSON of a quantised cache"
[[ $(grep -c '"type_k": "q8_0"' out) == $(grep -c '"n_depth"' out) ]] || fail "a row without q8_0"
! grep -q '"flash_attn": 0' out || fail "a quantised cache without flash attention"

# The plug-in may be in llama.cpp already; it must not attend in llama.cpp's own column.
plugin=$(dirname "$shadowattn")/../lib/libggml-shadowattn.so
run_case 0 env GGML_BACKEND_PATH="$plugin" "$shadowattn" bench -p 64 -n 2 -d 0 -r 1 --keep 0.2 -o json
"$check_bench" json out 2 llama dense shadow0.2 || fail "the JSON with the plug-in loaded"

# A device: its own columns beside the CPU's, on a core that the rest does not use.
usable=$(nproc)
run_case 0 "$shadowattn" bench --device npu-sim --pipeline fifo,planned --fuse 1,0 --gate off --keep 0.2 \
  -p 64 -n 0 -d 2048 -r 2 -fa 1 -o json
"$check_bench" json out 1 llama dense shadow0.2 shadow0.2:fifo:1 shadow0.2:fifo:0 \
  shadow0.2:planned:1 shadow0.2:planned:0 || fail "the JSON of a device"
if ((usable > 1)); then
  run_case 0 "$shadowattn" bench --device npu-sim --pipeline off --gate off --keep 0.2 --cpus 1 \
    -p 64 -n 0 -d 2048 -r 1 -fa 1
  expect_out '^\| attn .*\| attention ms .*\| device idle \| CPU waits \|$'
  expect_out '^\| shadow 0.2, npu-sim off, fuse all +\| +pp64 @ d2048 \|.* % \| .* % \|$'
  expect_out '; 1 threads on 1 cores, npu-sim on core [0-9]+$'
fi
run_case 0 "$shadowattn" bench --cpus 1 -p 64 -n 0 -d 0 -r 1 -fa 1 --attn dense -o json
grep -q '"n_threads": 1,' out || fail "--cpus 1 does not mean one thread"

# Longer than what the model was trained for: measured, with a warning.
"$edit_model" "$model" brief.gguf qwen2.context_length=1024 || fail "edit_model"
run_case 0 "$shadowattn" bench -m brief.gguf -p 8 -n 0 -d 1020 -r 1 --fa 1 --attn dense
expect_err '^shadowattn: warning: the model was trained for 1024 tokens'

# refused <status> <pattern> <options>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$shadowattn" bench -r 1 "$@"
  expect_err "^shadowattn: .*$pattern"
  [[ $(wc -l <err) == 1 && ! -s out ]] || fail "not one line: $*"
}
refused 2 'n-depth.* x ' -d 0,x
refused 2 'n-depth' -d 0,-5
refused 2 'n-depth' -d ,
refused 2 'not expected: 256' -d 0 256
refused 2 'nothing to measure' -p 0 -n 0
refused 2 'repetitions' -r 0
refused 2 'not in \{md,json,csv\}' -o xml
refused 2 'not in \{dense,shadow\}' --attn dense,off
refused 2 'above 0 and at most 1' --keep 0.2,2
refused 2 'not in \{0,1,both\}' -fa 2
refused 2 'not in \{f16,q8_0\}' -ctk q4_0
refused 2 'quantised KV cache' -ctk q8_0 -fa 0
refused 2 'unknown key "colour"' --config colour=red
refused 2 'mode is set by this subcommand' --config rows=4,mode=off
refused 1 'cannot write missing/d.svg' -m "$model" --depth-curve missing/d.svg
refused 1 'No such file' -m missing.gguf
refused 2 'off, fifo or planned' --device npu-sim --pipeline off,best
refused 2 'cpu, npu-sim or hexagon' --device gpu
refused 2 'pipeline is set by this subcommand' --config pipeline=off
refused 2 'cpus' --cpus 0
refused 1 'cannot be had' --cpus $((usable + 1))
refused 1 'no core is left' --device npu-sim --cpus "$usable"
first=$(taskset -cp $$ | sed 's/.*: \([0-9]*\).*/\1/')
refused 1 "core $first cannot play" --device npu-sim --cpus 1 --config device_cpu="$first"
# A model whose attention the plug-in cannot take has nothing to compare.
"$edit_model" "$model" odd.gguf qwen2.attention.head_count=32 qwen2.attention.head_count_kv=16 \
  || fail "edit_model"
refused 1 'computed no attention.*head' -m odd.gguf -p 64 -d 0

# Ctrl-C after the first test: its rows, whole; no picture.
"$shadowattn" bench --keep 0.2 -p 64 -n 0 -d 0,16000 -r 2 -t 1 -o json --depth-curve late.svg >out 2>err &
pid=$!
for ((i = 0; i < 1000; ++i)); do
  if grep -q '"attn": "shadow"' out; then break; fi
  kill -0 "$pid" 2>/dev/null || fail "ended before it could be interrupted"
  sleep 0.1
done
kill -INT "$pid"
status=0
wait "$pid" || status=$?
((status == 130)) || fail "status $status, not 130"
expect_err '^shadowattn: interrupted$'
"$check_bench" json out 1 llama dense shadow0.2 || fail "the JSON of a stopped benchmark"
expect_no_file late.svg
