#!/usr/bin/env bash
# Every task runs, prints a table, writes JSON with the documented keys and one whole page; what is
# wrong is said in one line before anything is computed.
. "$(dirname "$0")/lib.sh"
make_document document.txt 600

# evaluate <task> <options>...: writes report.json and page.html.
tokens=1024
evaluate() {
  run_case 0 "$shadowattn" eval "$@" -c "$tokens" -o report.json --html page.html
  grep -q "\"task\": \"$1\"" report.json || fail "no task in the JSON of $1"
  grep -q '</html>' page.html || fail "the page of $1 is not whole"
  ! grep -qiE '<script|https?://' page.html || fail "the page of $1 needs something from elsewhere"
  ! grep -qwE 'nan|inf' report.json page.html || fail "$1 shows what is no number"
}

expect_keys() {
  for key in "$@"; do grep -qE "^  \"$key\": [-0-9.e]+" report.json || fail "no number $key"; done
}

# number <key>: of the JSON's top level.
number() { sed -nE "s/^  \"$1\": ([-0-9.e]+),?$/\1/p" report.json; }
holds() { awk "BEGIN { exit !($1) }" || fail "$2: $1"; }

evaluate kld -f document.txt --trials 1 --attn-error 0 --keep 0.3 --floor 16 --baseline dense-fast
expect_keys mean_kld floor_kld same_top_p ppl_dense ppl_shadow kept
# llama.cpp's own attention is always there, and first.
grep -A2 '^| method ' out | tail -1 | grep -qE '^\| llama.cpp +\| +1,024 \|' || fail "no floor"
holds "$(number floor_kld) > 0 && $(number floor_kld) < $(number mean_kld)" "the floor"
expect_out '^\| dense-fast +\| +1,024 \| +[0-9]+ \| 100.0 % '
expect_out '^\| shadow +\| +1,024 \|'
expect_out '^\| 99.0 % KLD '
holds "$(number mean_kld) > 1e-6 && $(number mean_kld) < 1" "the divergence is none or huge"
holds "$(number kept) > 0.1 && $(number kept) < 0.9" "the share kept"
# Ours, with every token, is what llama.cpp computes.
host=$(grep -A8 '"name": "llama.cpp"' report.json | sed -nE 's/.*"ppl_ratio": ([0-9.e-]+),/\1/p')
holds "$host > 0.999 && $host < 1.001" "dense attention is not llama.cpp's"

# The same numbers again, whatever the number of threads.
cp report.json first.json
evaluate kld -f document.txt --trials 1 --attn-error 0 --keep 0.3 --floor 16 -t 1
for key in mean_kld kept; do
  holds "$(number $key) == $(sed -nE "s/^  \"$key\": ([-0-9.e]+),?$/\1/p" first.json)" \
    "another $key with one thread"
done

# Several settings and lengths side by side, in one reading; with one setting the same figures.
tokens=2500
evaluate kld -f document.txt --trials 1 --output-error 0.02,0.05 --attn-error 0.05 --keep 0.3 -b 300
for context in 2,048 2,500; do
  for name in llama.cpp 'shadow, output_error 0.02' 'shadow, output_error 0.05' \
    'shadow, attn_error 0.05' 'shadow, keep 0.3'; do
    expect_out "^\\| $name +\\| +$context \\|"
  done
done
holds "$(number output_error) == 0.02 && $(number keep) == 1" "the headline is the first"
# kept_of <method>: of the longest context.
kept_of() {
  grep -A3 "\"name\": \"$1\"" report.json | sed -nE 's/.*"kept": ([0-9.]+).*/\1/p' | tail -1
}
holds "$(kept_of shadow) == $(number kept)" "the headline's kept"
holds "$(kept_of 'shadow, output_error 0.05') < $(kept_of shadow)" "a looser dial keeps more"
holds "$(kept_of 'shadow, keep 0.3') < 0.4" "the share kept"
[[ $(grep -A2 '"context": 2048' report.json | sed -nE 's/.*"tokens": ([0-9]+),/\1/p') == 1024 ]] ||
  fail "not the second half of 2,048"
cp report.json first.json
evaluate kld -f document.txt --trials 1 -b 300
tokens=1024
for key in mean_kld floor_kld kept output_error; do
  holds "$(number $key) == $(sed -nE "s/^  \"$key\": ([-0-9.e]+),?$/\1/p" first.json)" \
    "another $key by itself, by default"
done

# Everything kept: no difference but that of 16-bit operands.
evaluate kld --trials 1 --attn-error 0 --keep 1
holds "$(number mean_kld) < 1e-3 && $(number kept) == 1" "keep 1 is not dense"

for task in needle recite track count calls; do
  evaluate "$task" --trials 7 --floor 64
  expect_keys accuracy_dense accuracy_shadow answer_nll_dense answer_nll_shadow losses gains kept
  holds "$(number answer_nll_dense) > 0 && $(number answer_nll_shadow) > 0" "no likelihood"
  holds "$(number questions_asked) == 7" "not seven questions"
  expect_out '^\| dense +\| [0-9]+ of 7 '
done
evaluate needle -f document.txt --trials 12
holds "$(number accuracy_dense) > 0.3" "the reference model finds no needles"
# What it mostly says it finds far likelier than guessing among its 4,096 tokens.
holds "$(number answer_nll_dense) < log(4096) / 2" "what is right is not likely"
cp report.json first.json
evaluate needle -f document.txt --trials 12
diff <(grep -v seconds first.json) <(grep -v seconds report.json) || fail "one seed, two results"

# Names are ranked; likelihoods do not depend on how many tokens are read at once, but for 16-bit
# operands, which are rounded after other sums.
evaluate calls --trials 6 --attn-error 0 --keep 1
expect_out '^\| shadow +\| +[0-9.]+ % \| +[0-9.]+ % \|'
grep -qE '"top_5": [0-9.]+' report.json || fail "no top_5"
dense=$(number answer_nll_dense)
holds "$(number answer_nll_shadow) / $dense > 0.99 && $(number answer_nll_shadow) / $dense < 1.01" \
  "everything kept is not dense"
evaluate calls --trials 6 --attn-error 0 --keep 1 -b 5
holds "$(number answer_nll_dense) / $dense > 0.999 && $(number answer_nll_dense) / $dense < 1.001" \
  "the likelihood depends on the size of batches"

evaluate recall -f document.txt --trials 1 --keep 0.1,0.5 -b 128
expect_keys kept mass_mean mass_p1 recall_mean recall_p1
holds "$(number mass_mean) > 0.3 && $(number mass_mean) <= 1" "the mass kept"
holds "$(number mass_p1) <= $(number mass_mean)" "the first percentile is above the mean"
expect_out '^\| shadow +\| +keep 0.5 '
grep -q 'class="cell"' page.html || fail "no heat map"

# Who shares a list, side by side: the coarser, the more is kept.
evaluate recall -f document.txt --trials 1 --attn-error 0.05 --floor 1 -b 128 \
  --granularity 1x1,8x1,8xgroup
kept_by() { sed -nE "s/^\| shadow +\|[^|]*\| +$1 \| +([0-9.]+) \|.*/\1/p" out; }
holds "$(kept_by 1x1) < $(kept_by 8x1) && $(kept_by 8x1) < $(kept_by 8xgroup)" "kept by list"
[[ $(grep -cE '^      "granularity": "(1x1|8x1|8xgroup)"' report.json) == 3 ]] || fail "granularity"
# row_by <lists>: without the padding, which depends on the other rows.
row_by() { grep -E "^\| shadow .* $1 " out | tr -s ' '; }
group=$(row_by 8xgroup) alone=$(row_by 1x1)
evaluate recall -f document.txt --trials 1 --attn-error 0.05 --floor 1 -b 128
[[ -n $group && $(row_by 8xgroup) == "$group" ]] || fail "8xgroup is not the default"
evaluate recall -f document.txt --trials 1 --attn-error 0.05 --floor 1 -b 128 --rows 1 \
  --share-heads no
[[ -n $alone && $(row_by 1x1) == "$alone" ]] || fail "1x1 is not --rows 1 --share-heads no"

# The other methods take part; nobody keeps more mass in as many tokens than the oracle.
methods=(oracle sparse-f32 block window npu-int8)
evaluate recall -f document.txt --trials 1 --keep 0.2 --sink 0 --recent 0 -b 64 \
  --baseline "$(IFS=, && echo "${methods[*]}")"
mass_of() { sed -nE "s/^\| $1 +\|.*\| +([0-9.]+) \/ [^|]*\| [^|]*\| [^|]*\|$/\1/p" out; }
for method in shadow "${methods[@]}"; do
  holds "0$(mass_of "$method") > 0" "no mass of $method"
  [[ $method == npu-int8 ]] ||
    holds "$(mass_of "$method") <= $(mass_of oracle) + 0.01" "more mass than the oracle: $method"
done
evaluate kld -f document.txt --trials 1 --attn-error 0 --keep 0.3 --floor 16 \
  --baseline "$(IFS=, && echo "${methods[*]}")"
for method in shadow "${methods[@]}"; do expect_out "^\| $method +\| +1,024 \|"; done

# A document from standard input, texts that could break the page.
mv document.txt '<b>&.txt'
evaluate needle -f '<b>&.txt' --trials 2
grep -q '&lt;b&gt;&amp;.txt' page.html || fail "the file's name is not escaped"
mv '<b>&.txt' document.txt
"$shadowattn" eval recite -c 1024 --trials 2 -f - <document.txt >out 2>err || fail "stdin"

rm -f report.json page.html first.json
: >empty
head -c 600 document.txt >short.txt
mkdir folder
before=$(ls -A)

# refused <status> <pattern> <arguments>...
refused() {
  local status=$1 pattern=$2
  shift 2
  run_case "$status" "$shadowattn" eval "$@" -m "$model"
  expect_err "^shadowattn: .*$pattern"
  [[ $(wc -l <err) == 1 && ! -s out ]] || fail "not one line: $*"
  rm -f out err
  [[ $(ls -A) == "$before" ]] || fail "left behind: $(ls -A)"
}
rm -f out err
before=$(ls -A)
refused 2 'eval --help'
refused 2 'recall, kld, needle' sing
refused 2 'no baseline "dens"; known: dense' kld --baseline dens
refused 2 'trials' needle --trials 0
refused 2 'at least 512 tokens' needle -c 300
refused 2 'at least 128 tokens' kld -c 100
refused 2 'takes one --output-error, --attn-error' needle --attn-error 0.1,0.2
refused 2 'takes no --output-error' recall --output-error 0.02
refused 2 'only recall does' kld --granularity 8x1
refused 2 'ROWSx1 .*found 8x2' recall --granularity 8x2
refused 2 'ROWS from 1 to 64, found 65x1' recall --granularity 1x1,65x1
refused 2 'one or the other' recall --granularity 8x1 --rows 4
refused 2 'attn_error' kld --attn-error 1
refused 2 'keep' kld --keep 0
refused 2 'auto, on or off' needle --chat maybe
refused 2 'set by this subcommand' needle --config keep=0.1
refused 1 'cannot write' kld -o missing/report.json
refused 1 'cannot write' kld --html folder
refused 1 'holds no text' kld -f empty
refused 1 'No such file' kld -f missing.txt
refused 1 'less than one window of 1,024' kld -f short.txt -c 1024 -o report.json
refused 1 'less than one window of 1,024' recall -f short.txt -c 1024 --html page.html
refused 1 'has only [0-9]+ tokens, and [0-9]+ are needed' needle -f short.txt -c 1024
refused 1 "longer than the model's" kld -c 40000
refused 1 'no chat template' needle --chat on
