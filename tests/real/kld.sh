#!/usr/bin/env bash
# kld.sh <text>: sparse attention at the default dial is as near to dense attention in f32 as
# llama.cpp's own is, within a factor of two: such a setting nobody can tell from llama.cpp. A
# setting that drops nearly everything is not, which shows that the measure tells them apart.
text=$1
. "$(dirname "$0")/../e2e/lib.sh"
json_value=${SHADOWATTN_JSON_VALUE:?path of shadowattn_json_value}

# figure <method> <key>: of the only length of context in report.json.
figure() {
  local name i
  for ((i = 0; ; ++i)); do
    name=$("$json_value" report.json "/lengths/0/methods/$i/name") || fail "no method $1"
    [[ $name == "$1" ]] && break
  done
  "$json_value" report.json "/lengths/0/methods/$i/$2"
}
holds() { awk "BEGIN { exit !($1) }" || fail "$2: $1"; }

# 1,024 positions, each after at least 1,024 tokens.
run_case 0 "$shadowattn" eval kld -m "$model" -f "$text" -c 2048 --trials 1 \
  --baseline llama.cpp -o report.json
floor=$(figure llama.cpp mean_kld) shadow=$(figure shadow mean_kld) kept=$(figure shadow kept)
echo "default: KLD $shadow, of llama.cpp $floor; kept $kept"
holds "$floor > 0.0001 && $floor < 0.007" "llama.cpp's own attention is not near dense attention"
holds "$shadow <= 2 * $floor" "sparse attention can be told from llama.cpp"
holds "$kept > 0.1 && $kept < 0.9" "the share kept"

run_case 0 "$shadowattn" eval kld -m "$model" -f "$text" -c 512 --trials 1 \
  --attn-error 0 --keep 0.05 --floor 16 -o report.json
coarse=$(figure shadow mean_kld)
echo "keep 0.05: KLD $coarse"
holds "$coarse > 2 * $floor" "nearly everything is dropped, and nobody sees it"
