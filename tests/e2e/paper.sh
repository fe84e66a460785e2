#!/usr/bin/env bash
# The quick run of all experiments: a whole page that needs nothing from elsewhere, every part in
# the JSON, no failures; what was measured is not measured again; what is wrong is said in one line.
. "$(dirname "$0")/lib.sh"
make_document document.txt 1200

# Ctrl-C: what was measured so far stays, and the same command goes on from there.
: >err
"$lab" paper --quick -f document.txt -o report >out 2>err &
pid=$! status=0
for ((i = 0; i < 3000; ++i)); do
  if grep -q '^\[3/' err; then break; fi
  kill -0 "$pid" 2>/dev/null || fail "ended before it could be interrupted"
  sleep 0.1
done
kill -INT "$pid"
wait "$pid" || status=$?
((status == 130)) || fail "status $status after Ctrl-C, not 130"
expect_err 'interrupted; what was measured is in report'
grep -q '"complete": false' report/paper.json || fail "an interrupted run calls itself complete"
grep -q '</html>' report/index.html || fail "no whole page after Ctrl-C"
kept=$(grep -c '"started"' report/paper.json)
((kept >= 2)) || fail "only $kept parts were kept"

run_case 0 "$lab" paper --quick -f document.txt -o report
cp out first.out
expect_err '^\[1/'
expect_err 'left\)$'
all=$(grep -c '"started"' report/paper.json)
went_on=$(grep -cE '^\[[0-9]+/' err)
((went_on + kept == all)) || fail "$kept parts were kept, $went_on measured, but there are $all"
grep -q '"complete": true' report/paper.json || fail "not complete"
grep -q '</html>' report/index.html || fail "the page is not whole"
! grep -qiE '<script|https?://[^w]' report/index.html || fail "the page needs something from elsewhere"
! grep -q 'Not measured' report/index.html || fail "parts are missing"
! grep -qwE 'nan|inf' report/index.html report/paper.json || fail "the report shows what is no number"
[[ $(ls -A report) == $'index.html\npaper.json' ]] || fail "left behind: $(ls -A report)"

# Every experiment is there, with its date and its command.
"$lab" paper --list --quick >list 2>err || fail "no list"
experiments=$(sed -nE 's/^\| ([a-z-]+) +\| +[0-9]+ \|.*/\1/p' list)
[[ $(wc -w <<<"$experiments") -ge 8 ]] || fail "experiments are missing: $experiments"
for experiment in $experiments; do
  grep -qE "^  \"$experiment\": \{" report/paper.json || fail "no $experiment in the JSON"
  grep -q -- "--only $experiment<" report/index.html || fail "no command for $experiment"
done

# Nothing is measured twice, and the page is made from what is there.
rm report/index.html
run_case 0 "$lab" paper --quick -f document.txt -o report
! grep -qE '^\[' err || fail "measured again"
cmp -s out first.out || fail "another table from the same results"
grep -q '</html>' report/index.html || fail "the page was not made again"

# Results of another run are kept.
before=$(cksum <report/paper.json)
run_case 1 "$lab" paper --quick -o report
expect_err '^shadowattn-lab: .*texts.* differs; give another folder'
run_case 1 "$lab" paper -f document.txt -o report
expect_err '^shadowattn-lab: .*quick differs; give another folder'
[[ $(cksum <report/paper.json) == "$before" ]] || fail "results of another run were changed"
mkdir damaged && echo '{"paper": 1' >damaged/paper.json
run_case 1 "$lab" paper --quick -f document.txt -o damaged
expect_err '^shadowattn-lab: damaged/paper.json is damaged .*--fresh'
[[ $(cat damaged/paper.json) == '{"paper": 1' ]] || fail "a damaged file was overwritten"

run_case 2 "$lab" paper --only nothing
expect_err 'no experiment, there are '
run_case 1 "$lab" paper --quick -f missing.txt -o report
expect_err '^shadowattn-lab: .*missing.txt'
run_case 1 "$lab" paper --quick -m document.txt -o report
expect_err '^shadowattn-lab: .*GGUF'
touch file
run_case 1 "$lab" paper --quick -o file
expect_err '^shadowattn-lab: cannot make the folder file'
