#!/usr/bin/env bash
# The demo: one document, three attentions, the same questions; here with the reference model, which recites.
. "$(dirname "$0")/lib.sh"

tail -c +120000 "$SHADOWATTN_TEXT" >late.txt  # nothing of what is asked without -p stands there
run_case 0 "$shadowattn" demo -m "$model" -f late.txt -c 4096 --quotations 3
cat out
expect_out '^1\. Quote the sentence of the text that begins with ".*"\.$'
expect_out '^ +llama.cpp +shadowattn, dense +shadowattn, shadow$'
for row in 'first token after' 'prefill, tokens/s' 'times as fast' 'attended to' 'KL divergence' 'same likeliest token'; do
  expect_out "^$row( +[^ ]+( s| %)?){3}\$"
done
expect_out '^right answers +3 of 3 +3 of 3 +3 of 3$'
expect_out '^KL divergence, likeliest token: of the next-token probabilities of the last 9[0-9][0-9] tokens, from those of$'

# The document that comes with shadowattn, and questions about it.
run_case 0 "$shadowattn" demo -m "$model" -c 8192 -n 4 --json
expect_out '"document": "state-of-the-union-1907.txt"'
expect_out '"text": "What should not be done with the antitrust law\?"'

# A person's own document and questions; it is the sparse path that answered: less was attended to than there was.
make_document doc.txt 120
run_case 0 "$shadowattn" demo -m "$model" -f doc.txt -p "$question" -p "The captain" -n 3 --keep 0.25 --attn-error 0 --gate off \
  --floor 1 --json
for key in other_programs stolen spread document questions mean_kld same_top_p chunk_s answers; do
  expect_out "\"$key\""
done
kept=$(sed -n 's/^ *"kept_share": \([0-9.]*\).*/\1/p' out | tail -n 1)
[[ $kept == 0.[0-9]* ]] || fail "shadow kept $kept"
[[ $(grep -c '"answers"' out) == 3 ]] || fail "not three sides"
expect_out '"right": 0'

# llama.cpp's own attention is not dense f32 to the last bit, and shadow attention is further off.
distances=$(sed -n 's/^ *"mean_kld": \([0-9.e-]*\).*/\1/p' out | xargs)
awk -v all="$distances" 'BEGIN { split(all, d, " "); exit !(d[1] > 0 && d[3] > d[2]) }' || fail "distances: $distances"

# A short text has no sentence to be quoted.
printf 'Nothing much.\n' >short.txt
run_case 1 "$shadowattn" demo -m "$model" -f short.txt
expect_err '^shadowattn: no sentence of the text serves as a question; ask something with -p$'
run_case 2 "$shadowattn" demo -m "$model" -c 100
run_case 1 "$shadowattn" demo -m "$model" -f missing.txt
expect_err '^shadowattn: cannot read the document missing.txt'
