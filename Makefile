# A thin front for the CMake presets. `make run` and `make test` are all that a new machine needs.
.PHONY: help deps build debug run test asan bench format format-check tidy install clean

PREFIX ?= /usr/local
ARGS ?=
SOURCES = $(shell git ls-files -co --exclude-standard '*.cpp' '*.hpp')

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

deps: ## install the Debian packages that are missing
	@packaging/install-deps.sh

build: deps ## build everything into build/release
	@cmake --preset release
	@cmake --build --preset release

debug: deps ## build everything into build/debug, with assertions
	@cmake --preset debug
	@cmake --build --preset debug

run: build ## start the daemon; pass flags with ARGS="--port 7000"
	@exec build/release/dflockd $(ARGS)

test: build ## run every test
	@ctest --preset release

asan: deps ## run every test under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake --preset asan
	@cmake --build --preset asan
	@ctest --preset asan

bench: build ## compare with an epoll floor, Redis and memcached on the same load
	@packaging/install-deps.sh bench
	@tests/bench/compare $(ARGS)

format: deps ## format the sources in place
	@clang-format -i $(SOURCES)

format-check: deps ## fail if a source is not formatted
	@clang-format --dry-run --Werror $(SOURCES)

tidy: deps ## run clang-tidy over the sources
	@cmake --preset release
	@packaging/run-tidy.sh

install: build ## install into PREFIX (default /usr/local), under DESTDIR if set
	@cmake --install build/release --prefix $(PREFIX)

clean: ## remove everything that was built
	@rm -rf build
