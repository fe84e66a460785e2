#!/usr/bin/env bash
# Predictions of a prefill: what is printed and written, that calls are cut as the engine cuts them,
# and every wrong input.
. "$(dirname "$0")/lib.sh"

soc=${SHADOWATTN_SOC:?folder of the SoC files}
gen3=$soc/snapdragon-8gen3.json

run_case 0 "$lab" simulate --soc "$gen3" --model-shape qwen2-1.5b -c 4096 \
  --svg call.svg -o report.json
expect_out '^qwen2-1.5b on Snapdragon 8 Gen 3'
expect_out 'nothing ran on a phone'
expect_out '^ms +planned +fifo +off +CPU estimate +dense$'
for stage in 'linear layers' quantise select attend waiting 'NPU beside it: launching'; do
  expect_out "^$stage +[0-9]"
done
expect_out '^Qwen2.5-1.5B +dense +throttled +4,096 .* -49.1 %$'
expect_out '^Qwen2.5-1.5B +sparse +4,096 .* -11.7 %$'
expect_out '^13 predicted rows: 14.8 % off on the mean, at most -23.9 %$'
grep -q '</svg>' call.svg || fail "call.svg is no whole picture"
grep -q 'nothing ran on a phone' call.svg || fail "call.svg does not say what it is"
grep -q '"mean_absolute_error"' report.json || fail "report.json has no error of the prediction"

run_case 0 "$lab" simulate --soc "$gen3" -m qwen2-1.5b --json
cmp -s out report.json || fail "--json and -o differ"

run_case 0 "$lab" simulate --soc "$gen3" -m qwen2-0.5b --plan --npu-speed 2
expect_out '^qwen2.5-7b +131,072 +8.00x .*\*$'
expect_out '^extrapolated, no published time covers it: an NPU of another speed$'
expect_out '^the estimate on the CPU +\+'
run_case 0 "$lab" simulate --soc "$soc/snapdragon-8gen2.json" -m phonelm-0.5b -v
expect_out '^prefill.linear_rate +834 +Gop/s +assumed$'
expect_out 'Octopus'

# same_launches <SoC file> <tokens> <chunk>: as many as the engine makes on that NPU, simulated. With a
# single KV head, for of several that differ in scale the engine fuses fewer than are assumed here.
one_kv_head=${SHADOWATTN_ONE_KV_HEAD:?a model with one KV head}
same_launches() {
  cp "$1" soc.json  # a config has no room for commas in paths
  run_case 0 "$shadowattn" trace --floor 1 --sink 0 --recent 1 --config soc=soc.json -c "$2" -b "$3" \
    --pipeline fifo -t 1 --json -m "$one_kv_head"
  local made
  made=$(grep -oE '"launches": [0-9]+' out | head -n 1 | grep -oE '[0-9]+')
  run_case 0 "$lab" simulate --soc soc.json -m "$one_kv_head" -c "$2" -b "$3" --dense-layers 0 \
    --cores 1
  sed -i 's/,//g' out
  expect_out "^launches +$made +$made +$made "
}
same_launches "$gen3" 1500 300
# Few keys per launch; and so many keys that fewer rows fit into the memory for scores, in no time.
sed 's/"value": 4160, "unit": "keys"/"value": 640, "unit": "keys"/' "$gen3" >few_keys.json
same_launches few_keys.json 1500 300
sed 's/"value": 1.5, "unit": "ms"/"value": 0, "unit": "ms"/
     s/"value": 52.2, "unit": "Gop/"value": 52.2, "unit": "Top/' "$gen3" >fast.json
same_launches fast.json 24000 512

wrong() { # wrong <status> <message> <option>…
  local status=$1 message=$2
  shift 2
  run_case "$status" "$lab" simulate "$@"
  expect_err "^shadowattn-lab: .*$message"
  (($(wc -l <err) == 1)) || fail "more than one line of error"
}
wrong 2 '--soc is required'
wrong 1 'no regular file' --soc missing.json
wrong 1 'no regular file' --soc /dev/zero
wrong 1 'longer than' --soc "$model"
printf '{' >cut.json
wrong 1 'not JSON' --soc cut.json
echo '{"schema": 1}' >short.json
wrong 1 'lacks' --soc short.json
wrong 2 'known: phonelm' --soc "$gen3" -m llama
wrong 2 'no multiple' --soc "$gen3" -m 12/5/128/28/1536/8960
wrong 1 'cannot open the model' --soc "$gen3" -m missing.gguf
head -c 2000 "$model" >short.gguf
wrong 1 'cannot read the metadata' --soc "$gen3" -m short.gguf
wrong 2 'give a larger --keep' --soc "$gen3" --keep 0.01
wrong 2 'give a larger --keep' --soc "$gen3" -m "$model"
wrong 2 'tokens' --soc "$gen3" -c 0
wrong 2 'cores of that kind' --soc "$gen3" --cores 9
wrong 2 'simulate --help' --soc "$gen3" --pilot gpu
wrong 1 'no/folder' --soc "$gen3" -o no/folder/report.json --svg kept.svg
expect_no_file kept.svg
