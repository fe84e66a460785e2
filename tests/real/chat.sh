#!/usr/bin/env bash
# chat.sh <text>: a model that was trained on conversations is asked through its template, and
# answers what a short document says, whatever computes its attention.
document=$1
. "$(dirname "$0")/../e2e/lib.sh"
json_value=${SHADOWATTN_JSON_VALUE:?path of shadowattn_json_value}

value() { "$json_value" out "$1"; }
# ask <model> <tokens> <options>...
ask() {
  run_case 0 "$shadowattn" run -m "$1" -f "$document" -n "$2" --json \
    -p 'Into what did the mayor fall? Answer in one word.' "${@:3}"
}

most=40
for options in "--mode off" "--mode dense" "--mode shadow --gate off --floor 64"; do
  # shellcheck disable=SC2086
  ask "$model" "$most" $options
  [[ $(value /run/answer) == *river* ]] || fail "another answer: $options"
  # Nobody cuts it off: with its template the model says where an answer ends.
  (($(value /run/answer_tokens) < most)) || fail "the answer does not end: $options"
  tokens=$(value /run/prompt_tokens)
done
(($(value /totals/calls) > 0)) || fail "the plug-in computed nothing"
[[ $(value /totals/kept_share) == 0.* ]] || fail "nothing was left out"

# <|im_start|>, user, a new line; <|im_end|>, a new line, <|im_start|>, ass, istant, a new line: the
# marks are tokens of their own, not the characters they are written with.
"$edit_model" "$model" plain.gguf tokenizer.chat_template=none || fail "edit_model"
ask plain.gguf 1 --mode off
plain=$(value /run/prompt_tokens)
((tokens == plain + 9)) || fail "$tokens tokens with the template, $plain without"
