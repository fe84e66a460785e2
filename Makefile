# A thin layer over CMake and scripts/: every target installs what is missing, builds, runs.
#   CMAKE_ARGS   more arguments for configuring, e.g. CMAKE_ARGS=-DSHADOWATTN_LLAMA_DIR=$HOME/llama.cpp
#   JOBS         parallel compilations (default: number of cores)
#   DIST         what make dist packs (default: x64 arm64)
#   TABLES       what make tables makes (default: all; MODELS, TEXTS, TIERS: see scripts/tables)

JOBS ?= $(shell nproc 2>/dev/null || echo 1)
CMAKE_ARGS ?=
export JOBS CMAKE_ARGS

AVX512_TESTS ?= *avx512*
# 64-bit Arm in an emulator; an Arm machine tests itself.
ARM_PRESET := $(if $(filter x86_64,$(shell uname -m)),aarch64)

.DEFAULT_GOAL := help
DIST ?= x64 arm64

.PHONY: help build demo tables test test-arm test-asan test-tsan test-avx512 bench dist format tidy clean distclean
.NOTPARALLEL:

help:
	@echo "make demo       build, fetch SmolLM2-135M (94 MB), then read a long text with dense and with shadow attention,"
	@echo "                side by side; without network the model is bookworm-3m"
	@echo "make test       all tests: release, the unit tests under the sanitizers, then 64-bit Arm in an emulator"
	@echo "make test-arm   the last alone"
	@echo "make build      build into build/bin and build/lib"
	@echo "make test-avx512  the AVX-512 kernels' tests in an emulator, for machines without AVX-512"
	@echo "make tables     build, then make the documents' tables again on real models, an hour or more (TABLES='kld bench': only these)"
	@echo "make bench      build, then run the kernel benchmarks"
	@echo "make dist       archives for other machines (x86-64, 64-bit Arm) into build/dist, each tried after unpacking"
	@echo "make test-asan  unit tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make test-tsan  unit tests under ThreadSanitizer"
	@echo "make format     clang-format all sources"
	@echo "make tidy       clang-tidy all sources"
	@echo "make clean      remove what we built (llama.cpp's build stays; make distclean removes that too)"
	@echo
	@echo "Every target first installs missing Debian packages (as root or with sudo; see scripts/install-deps)."

build:
	@scripts/install-deps build llama
	@scripts/build release

demo:
	@scripts/install-deps build llama model
	@scripts/build release shadowattn_cli
	@scripts/fetch-model >/dev/null || true
	build/bin/shadowattn demo

tables: build
	@scripts/install-deps model
	@scripts/tables $(TABLES)

test:
	@scripts/install-deps build llama model library hexagon $(if $(ARM_PRESET),arm)
	@scripts/test release asan tsan $(ARM_PRESET)

test-arm:
	@scripts/install-deps build llama hexagon arm
	@scripts/test aarch64

test-asan:
	@scripts/install-deps build hexagon
	@scripts/test asan

test-tsan:
	@scripts/install-deps build hexagon
	@scripts/test tsan

test-avx512: build
	cmake --build build --target shadowattn_unit_tests_static
	scripts/run-emulated-avx512 build/bin/shadowattn_unit_tests_static '--gtest_filter=$(AVX512_TESTS)'

bench: build
	@set -e; ran=0; for program in build/bin/*_bench; do \
	  if [ -x "$$program" ]; then "$$program" $(BENCH_ARGS); ran=1; fi; done; \
	  if [ $$ran = 0 ]; then echo "make bench: build/bin has no *_bench program" >&2; exit 1; fi

dist:
	@scripts/install-deps build llama hexagon $(if $(filter arm64,$(DIST)),arm)
	@scripts/dist $(DIST)

format:
	@scripts/install-deps format
	git ls-files -z --cached --others --exclude-standard '*.h' '*.c' '*.cc' '*.cpp' '*.inc' | xargs -0 -r clang-format -i

tidy:
	@scripts/install-deps build llama tidy
	@scripts/build release
	run-clang-tidy -quiet -p build -j $(JOBS) "^$(CURDIR)/(src|plugin|tools|tests|bench)/"

clean:
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name 'llama-??????????' ! -name cache -exec rm -rf {} +; fi

distclean:
	rm -rf build
