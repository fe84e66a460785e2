#!/usr/bin/env bash
# library.sh <cmake> <build folder> <examples> <C compiler>: installs into an empty folder, moves that, and builds and
# runs the example against it, once by pkg-config and once by CMake.
set -euo pipefail
cmake=$1 build=$2 examples=$3 compiler=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

"$cmake" --install "$build" --component development --prefix "$work/before" >/dev/null
mv "$work/before" "$work/prefix"
if grep -rlF "$build" "$work/prefix" --include='*.cmake' --include='*.pc' --include='*.h'; then fail "these name the build folder"; fi
[[ -z $(find "$work/prefix" -name 'libshadowattn*.so*') ]] || fail "the plug-in is no part of the library"

runs() {
  "$1" >"$work/out" || fail "$1 exits with $?"
  grep -Eq '^mode=dense +kept 100.0 %' "$work/out" || fail "$1 does not attend densely: $(<"$work/out")"
  grep -Eq '^keep=0.5,gate=off +kept +[0-9.]+ %' "$work/out" || fail "$1 does not attend sparsely: $(<"$work/out")"
  grep -Eq '^difference: [0-9.]+ %' "$work/out" || fail "$1 compares nothing: $(<"$work/out")"
}

"$cmake" -S "$examples" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; fail "find_package"; }
"$cmake" --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; fail "does not build by CMake"; }
runs "$work/build/attend"

if ! command -v pkg-config >/dev/null; then echo "skipped: there is no pkg-config"; exit 77; fi
pc=$(find "$work/prefix" -name shadowattn.pc)
read -ra flags <<<"$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs --static shadowattn)"
"$compiler" -std=c11 -Wall -Wextra -Werror -pedantic "$examples/attend.c" "${flags[@]}" -o "$work/attend" || fail "does not build by pkg-config"
runs "$work/attend"
