#!/usr/bin/env bash
# estimate_mass on recorded attention: what it says fits together; mistakes end cleanly.
. "$(dirname "$0")/lib.sh"
mass=${SHADOWATTN_ESTIMATE_MASS:?path of estimate_mass}
make_document document.txt 160
run_case 0 "$lab" record -m "$model" -f document.txt -o document.gguf -c 1200 --layers 1,2 --rows 96

# mean <table> <scores> <list> <column>: of the table that starts with the word.
mean() {
  awk -F' *[|] *' -v table="$1" -v scores="$2" -v list="$3" -v column="$4" \
    '/^[A-Z]/ { now = $1 } index(now, table) == 1 && $2 == scores && $3 == list {
       sub(/ .*/, "", $column); print $column; exit }' out
}
# holds <expression of awk> <what failed>
holds() { awk "BEGIN { exit !($1) }" || fail "$2: $1"; }

run_case 0 "$mass" document.gguf --runs 2 --keep 0.1,0.5
expect_out '^Operands: recorded$'
float=$(mean Retained float '1 row' 4)
holds "$float > 40 && $float < $(mean Retained float '1 row' 5)" "mass of float scores"
holds "$(mean Oracle float '1 row' 4) < 0.001" "float scores are the oracle"
for scores in "INT32, scales: head, head" "INT32, scales: key, row" "INT16, scales: key, row, centred" \
  "INT8, scales: head, row, centred" "INT8, scales: head, head, rotated"; do
  holds "$(mean Retained "$scores" '1 row' 4) > $float - 0.3" "mass of $scores"
  holds "$(mean Retained "$scores" '1 row' 4) <= $float" "mass of $scores"
  holds "$(mean Recall "$scores" '1 row' 4) > 90" "recall of $scores"
done

# Outliers: what is done about them helps, and float scores do not mind.
run_case 0 "$mass" document.gguf --runs 1 --keep 0.1 --case both
expect_out '^Operands: both$'
plain=$(mean Oracle "INT32, scales: head, row" '1 row' 4)
holds "$(mean Oracle float '1 row' 4) < 0.001" "float scores with outliers"
for change in centred rotated "centred, equalised" "centred, rotated"; do
  holds "$(mean Oracle "INT32, scales: head, row, $change" '1 row' 4) < $plain" "$change"
done

run_case 0 "$mass" document.gguf --runs 2 --what lists --keep 0.1 --sink 4 --recent 64
own=$(mean Retained float '1 row' 4)
for list in '8 rows' '64 rows' '1 row, heads together' '64 rows, heads together'; do
  holds "$(mean Retained float "$list" 4) < $own" "mass of $list"
done

run_case 0 "$mass" document.gguf document.gguf --runs 1 --case recorded,bias --keep 0.2 -o json
[[ $(grep -c '"case"' out) == 2 ]] || fail "not two cases in JSON"
[[ $(grep -c '"scores"' out) == 122 ]] || fail "not 61 estimates each"

# refused <status> <pattern> <option>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$mass" "$@"
  expect_err "^estimate_mass: .*$pattern"
}
refused 2 'recording'
refused 2 'case' document.gguf --case other
refused 2 'keep' document.gguf --keep 1.5
refused 2 'runs' document.gguf --runs 0
refused 1 'No such file' missing.gguf
refused 1 'no recording' "$model"
