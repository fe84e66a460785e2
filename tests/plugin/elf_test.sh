#!/usr/bin/env bash
# The plug-in must load beside any libggml-base and show nothing but its entry:
#   elf_test.sh <plug-in>
set -euo pipefail
plugin=$1

if readelf -d "$plugin" | grep NEEDED | grep -E 'ggml|llama'; then
  echo "FAILED: the plug-in is tied to one name of ggml's libraries" >&2
  exit 1
fi
if readelf -d "$plugin" | grep -E 'RPATH|RUNPATH'; then
  echo "FAILED: the plug-in has a run path of the machine it was built on" >&2
  exit 1
fi
symbols=$(nm -D --defined-only "$plugin" | awk '{print $3}')
if [[ $symbols != ggml_backend_init ]]; then
  printf 'FAILED: exported symbols:\n%s\n' "$symbols" >&2
  exit 1
fi
if nm -D --undefined-only "$plugin" | grep -E ' (ggml|llama|gguf)_'; then
  echo "FAILED: symbols of ggml are linked, not looked up" >&2
  exit 1
fi
readelf -d "$plugin" | grep NEEDED
