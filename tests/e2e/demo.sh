#!/usr/bin/env bash
# The demo runs at its defaults, and shadow attention gives the answers llama.cpp gives.
. "$(dirname "$0")/lib.sh"

run_case 0 "$shadowattn" demo
cat out
expect_out '^depth +the code of +is +llama.cpp'
expect_out '^first token after'
expect_out "^Same answer with shadow attention as with llama.cpp's own: 10 of 10$"

# It is the sparse path that answered: less was attended to than there was.
run_case 0 "$shadowattn" demo --context 2048 --facts 3 --keep 0.25 --gate off --json
kept=$(sed -n 's/^ *"kept_share": \([0-9.]*\).*/\1/p' out | tail -n 1)
[[ $kept == 0.[0-9]* ]] || fail "shadow kept $kept"

run_case 1 "$shadowattn" demo --context 40000
expect_err "^shadowattn: .*32,768"
