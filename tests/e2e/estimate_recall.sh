#!/usr/bin/env bash
# estimate_recall on recorded attention: what it says fits together; mistakes end cleanly.
. "$(dirname "$0")/lib.sh"
recall=${SHADOWATTN_ESTIMATE_RECALL:?path of estimate_recall}
make_document document.txt 160
tac document.txt >other.txt

for name in document other; do
  run_case 0 "$lab" record -m "$model" -f $name.txt -o $name.gguf -c 1200 --layers 1,2 --rows 64
done
run_case 0 "$recall" document.gguf --calibrate other.gguf --every 8 --keep 0.1,0.5
expect_out '^document.gguf: 1,200 tokens; calibrated mean scales: query '

# mean <scales> <keys' mean> <column>: of the first table that has the row.
mean() {
  awk -F' *[|] *' -v name="$1" -v centre="$2" -v column="$3" \
    '$2 == name && $3 == centre { sub(/ .*/, "", $column); print $column; exit }' out
}
# holds <expression of awk> <what failed>
holds() { awk "BEGIN { exit !($1) }" || fail "$2: $1"; }
rows=("1 pair" "3 pairs, nearest" "3 pairs, covering" "5 pairs, nearest" "5 pairs, covering"
  "9 pairs, nearest" "9 pairs, covering" grid measured "grid, row scales" "measured, row scales"
  "INT32 scores: measured" "INT32 scores: measured, row scales")
for row in "${rows[@]}"; do
  for centre in kept subtracted; do
    for column in 4 5; do
      value=$(mean "$row" $centre $column)
      holds "${value:-0} > 70 && ${value:-0} <= 100" "recall of $row, mean $centre"
    done
  done
done
# What is finer finds more; by chance 8-bit scores may hit as well, but not much better.
bound=$(mean "INT32 scores: row and key scales" kept 4)
holds "$bound > 95" "the bound"
for row in grid "grid, row scales" measured; do
  holds "$(mean "$row" subtracted 4) < $bound + 0.5" "$row against the bound"
done

run_case 0 "$recall" document.gguf other.gguf --calibrate document.gguf,other.gguf --every 16 -o json
[[ $(grep -c '"recording"' out) == 2 ]] || fail "not two recordings in JSON"
[[ $(grep -c '"scales"' out) == 54 ]] || fail "not 27 configurations each"

# refused <status> <pattern> <option>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$recall" "$@"
  expect_err "^estimate_recall: .*$pattern"
}
refused 2 'calibrate' document.gguf
refused 2 'recording' --calibrate other.gguf
refused 2 'keep' document.gguf --calibrate other.gguf --keep 0
refused 1 'No such file' missing.gguf --calibrate other.gguf
refused 1 'no recording' document.gguf --calibrate "$model"
