#!/usr/bin/env bash
# attention_bench on recorded attention: what it says of accuracy, and what it does with bad input.
. "$(dirname "$0")/lib.sh"
bench=${SHADOWATTN_ATTENTION_BENCH:?path of attention_bench}
make_document document.txt 120

run_case 0 "$lab" record -m "$model" -f document.txt -o one.gguf -c 1200 --layers 1,2 --rows 64
run_case 0 "$bench" --table --dump one.gguf --layers 1 --rounds 1 --keep 0.3,1 --rows 1,8
expect_out '^[|] f32 FMA [|] baseline [|] [0-9.]*[1-9][0-9.]* GFLOP/s [|]$'
expect_out '^[|] clock of one core [|]  [|] [0-9]+[.][0-9]+ GHz [|]$'
expect_out '^layer:1: 4 heads, 2 KV heads, head dim 64, 64 rows, 1280 keys$'
! grep -q '^layer:2' out || fail "a layer that was not asked for"

# column <row> <column>: of the table, blanks and "%" removed.
column() {
  awk -F'|' -v row="$1" -v column="$2" '
    { name = $2; gsub(/ /, "", name) }
    name == "attention" { for (i = 2; i < NF; ++i) { title = $i; gsub(/^ +| +$/, "", title)
                                                     if (title == column) wanted = i } }
    name == row { value = $wanted; gsub(/[ %]/, "", value); print value; exit }' out
}
# holds <expression of awk> <what failed>
holds() { awk "BEGIN { exit !($1) }" || fail "$2: $1"; }

# Three ways to compute the same thing.
for row in ggml dense shadow/keep:1/rows:8/heads:shared shadow/keep:1/rows:1/heads:own; do
  holds "$(column $row error) < 0.01" "error of $row"
  holds "$(column $row mass) > 0.99 && $(column $row mass) < 1.01" "mass of $row"
  holds "$(column $row kept) == 100" "kept of $row"
done
# Fewer tokens: less mass, but more than chance would give; an error that is there.
for row in shadow/keep:0.3/rows:8/heads:shared shadow/keep:0.3/rows:1/heads:own; do
  holds "$(column $row kept) > 28 && $(column $row kept) < 32" "kept of $row"
  holds "$(column $row mass) > 0.5 && $(column $row mass) < 0.999" "mass of $row"
  holds "$(column $row "mass p1") < $(column $row mass)" "first percentile of $row"
  holds "$(column $row error) > 0.001 && $(column $row error) < 1" "error of $row"
done
holds "$(column shadow/keep:0.3/rows:1/heads:own mass) > $(column shadow/keep:0.3/rows:8/heads:shared mass)" \
  "own lists keep no more mass than shared ones"

run_case 0 "$bench" --dump one.gguf --benchmark_filter='call/(ggml|dense|shadow/keep:0.2/rows:8/heads:shared)/layer:2/' \
  --benchmark_min_time=0.01
for name in ggml dense shadow/keep:0.2/rows:8/heads:shared; do expect_out "^call/$name/layer:2"; done
run_case 0 "$bench" --benchmark_list_tests=true
expect_out '^call/dense/random/dim:128/keys:8192'
expect_out '^peak/f32 FMA/baseline'

# refused <status> <pattern> <option>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$bench" "$@"
  expect_err "^attention_bench: .*$pattern"
}
refused 1 'No such file' --table --dump missing.gguf
refused 1 'no recording' --table --dump "$model"
head -c 100000 one.gguf >cut.gguf
refused 1 'damaged or cut short' --table --dump cut.gguf
refused 1 'none of the layers' --table --dump one.gguf --layers 3
refused 2 'needs --dump' --table --layers 3
refused 2 'unknown argument --fast' --fast
refused 2 'does not know --benchmark' --table --benchmark_filter=x
refused 1 'isa=mmx is unknown' --table --dump one.gguf --isa mmx

# A recording of a quantised cache. ggml quantises the queries as well, hence the wider limit.
run_case 0 "$lab" record -m "$model" -f document.txt -o q8.gguf -c 1200 --layers 1 --rows 64 \
  --ctk q8_0 --ctv q8_0
run_case 0 "$bench" --table --dump q8.gguf --rounds 1 --keep 0.3,1 --rows 8
holds "$(column ggml error) < 0.03" "error of ggml on q8_0"
for row in dense shadow/keep:1/rows:8/heads:shared; do
  holds "$(column $row error) < 0.01" "error of $row on q8_0"
  holds "$(column $row mass) > 0.99 && $(column $row mass) < 1.01" "mass of $row on q8_0"
done
row=shadow/keep:0.3/rows:8/heads:shared
holds "$(column $row mass) > 0.5 && $(column $row mass) < 0.999" "mass of $row on q8_0"
