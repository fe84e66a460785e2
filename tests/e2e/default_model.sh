#!/usr/bin/env bash
# Without -m: the model in the cache where one of its name and size is, else bookworm-3m, and a line says so.
. "$(dirname "$0")/lib.sh"
make_document document.txt 40
name=smollm2-135m-instruct-q4_1.gguf
size=98362432
no_model='^shadowattn: SmolLM2 is not in the cache \(scripts/fetch-model .*; using bookworm-3m'

# ask <words of the cache's place>...: the answer is the reference model's in any case.
ask() {
  run_case 0 env "$@" "$shadowattn" run -f document.txt -p "$question" -n 2 -t 2 --report report.json
  expect_out '^ ?silence'
}
uses_bookworm() {
  [[ $(grep -cE "$no_model" err) == 1 ]] || fail "$1: not one line that says which model it is"
  grep -q '"model": ".*/bookworm-3m-q8_0.gguf"' report.json || fail "$1: another model"
}

ask SHADOWATTN_CACHE_DIR="$work/cache"
uses_bookworm "no cache"
expect_no_file cache
mkdir cache
cp "$model" "cache/$name"
ask SHADOWATTN_CACHE_DIR="$work/cache"
uses_bookworm "a model of another size"

# The bytes at the end do no harm.
truncate -s $size "cache/$name"
ask SHADOWATTN_CACHE_DIR="$work/cache"
! grep -q bookworm err || fail "the model in the cache is not used"
grep -qF "\"model\": \"$work/cache/$name\"" report.json || fail "not the model in the cache"
run_case 0 env SHADOWATTN_CACHE_DIR="$work/cache" "$shadowattn" run -m "$model" -f document.txt -p "$question" -n 2 \
  -t 2 --report report.json
grep -qF "\"model\": \"$model\"" report.json || fail "-m is not obeyed"

# Where the cache is, without that variable; and that every subcommand takes the model there. What lies there is no
# model, so that each ends at once and names it.
truncate -s 0 "cache/$name"
truncate -s $size "cache/$name"
mkdir .cache
ln -s ../cache .cache/shadowattn
ln -s cache shadowattn
takes() {
  local path=$1
  shift
  run_case 1 env -u SHADOWATTN_CACHE_DIR -u XDG_CACHE_HOME -u HOME "$@"
  expect_err "^shadowattn(-lab)?: the model $path is not a GGUF file"
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $*"
}
takes "$work/shadowattn/$name" XDG_CACHE_HOME="$work" "$shadowattn" demo
takes "$work/.cache/shadowattn/$name" HOME="$work" "$shadowattn" demo
takes "$work/.cache/shadowattn/$name" HOME="$work" XDG_CACHE_HOME= SHADOWATTN_CACHE_DIR= "$shadowattn" demo
for arguments in demo bench trace profile "eval kld" "run -f document.txt -p Who"; do
  # shellcheck disable=SC2086
  takes "$work/cache/$name" SHADOWATTN_CACHE_DIR="$work/cache" "$shadowattn" $arguments
done
for arguments in paper "record -f document.txt -o x"; do
  # shellcheck disable=SC2086
  takes "$work/cache/$name" SHADOWATTN_CACHE_DIR="$work/cache" "$lab" $arguments
done
