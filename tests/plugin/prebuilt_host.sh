#!/usr/bin/env bash
# The plug-in inside llama.cpp libraries that others built: those of the npm package
# @node-llama-cpp/linux-x64, compiled on Ubuntu, without OpenMP, with libraries of other names.
#   prebuilt_host.sh <C++ compiler> <object of prebuilt_host.cpp> <plug-in> <model> <cache folder>
# Exit status 77: not tested, the package cannot be had.
set -euo pipefail
compiler=$1 object=$2 plugin=$3 model=$4 cache=$5

package=@node-llama-cpp/linux-x64@3.22.1 file=node-llama-cpp-linux-x64-3.22.1.tgz
sha512=e6e0820cda9608d7da026f1a47f533c5ba381c1a4a80d17dd640873dea4a86032057638099ab6879f6ce94c8a1b2a0a21f639ddf913f7941d00856df44126e3a

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  [[ -e $work/err ]] && tail -30 "$work/err" >&2
  exit 1
}
skip() { echo "skipped: $*"; exit 77; }

# Into the cache under its final name only when it is whole: several tests may fetch at once.
fetch() {
  command -v npm >/dev/null || skip "npm is not installed, $file is not in $cache"
  echo "Fetching $package (11 MB, once)"
  (cd "$work" && npm pack --ignore-scripts --silent --fetch-retries=1 --fetch-retry-maxtimeout=5000 "$package") \
    >"$work/npm" 2>&1 || skip "npm pack $package: $(tail -1 "$work/npm")"
  check "$work/$file"
  mkdir -p "$cache"
  cp "$work/$file" "$cache/$file.$$" && mv "$cache/$file.$$" "$cache/$file"
}
check() { echo "$sha512  $1" | sha512sum --check --quiet - || fail "$1 has the wrong SHA-512 checksum"; }

[[ -e $cache/$file ]] || fetch
check "$cache/$file"
tar -xzf "$cache/$file" -C "$work" package/bins
bins=$work/package/bins/linux-x64

"$compiler" "$object" -o "$work/host" -L"$bins" -l:libllama.v0.5.0.so -l:libggml.v0.5.0.so \
  -l:libggml-base.so -Wl,-rpath,"$bins" 2>"$work/err" || fail "the host does not link"

# About 1100 tokens with a fact in the middle.
{
  for _ in {1..100}; do printf ' the men of the boat said that it was night'; done
  printf ' The code of amber falcon is velvet.'
  for _ in {1..20}; do printf ' and they went to the house by the road'; done
  printf ' The code of amber falcon is'
} >"$work/prompt"

# answer [variable=value...]: what the host says with these.
answer() {
  env "$@" "$work/host" "$bins" "$model" "$work/prompt" 2>"$work/err" || fail "the host exited with $? ($*)"
}
number() { sed -n "s/^ *\"$1\": \([0-9.]*\),*$/\1/p" "$work/report.json" | head -1; }

alone=$(answer)
[[ $alone == *velvet* ]] || fail "without the plug-in the model does not find the fact: $alone"
for mode in dense shadow,gate=off,keep=0.5; do
  rm -f "$work/report.json"
  with=$(answer GGML_BACKEND_PATH="$plugin" SHADOWATTN="mode=$mode,report=$work/report.json")
  [[ -e $work/report.json ]] || fail "no report: the plug-in did not load"
  # Four layers; two prompt batches and 16 tokens from 1024 keys on.
  (($(number calls) >= 4 * 16)) || fail "attention stays with the host: $(cat "$work/report.json")"
  [[ $mode != dense || $with == "$alone" ]] || fail "dense answers $with, the host alone $alone"
  [[ $with == *velvet* ]] || fail "$mode does not find the fact: $with"
  echo "mode=$mode: $(number calls) calls, kept share $(number kept_share), answer$with"
done
echo "passed"
