# A thin front for the CMake presets. `make run` and `make test` are all that a new machine needs.
.PHONY: help build debug run test test-debian12 test-debian13 asan tsan coverage simulate history soak fuzz bench format format-check tidy cppcheck openapi-lint promtool doxygen install package package-test package-boot-test clean

PREFIX ?= /usr/local
ARGS ?=
TARGET ?=
SECONDS ?= 60
SEEDS ?= 1000
FROM ?= 1
MINUTES ?= 10
DEPS = packaging/install-deps.sh
SOURCES = $(shell git ls-files -co --exclude-standard '*.cpp' '*.hpp')

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\)[ :].*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build everything into build/release
	@$(DEPS)
	@cmake --preset release
	@cmake --build --preset release

debug: ## build everything into build/debug, unoptimised
	@$(DEPS)
	@cmake --preset debug
	@cmake --build --preset debug

# Only what is run, into the build directory that all is built into. Where nothing is to be done
# nothing is said but what the daemon says.
run: ## build the daemon and dflockctl and start it; flags go into ARGS, as in make run ARGS="--port 7000"
	@$(DEPS) run
	@[ -e build/release/build.ninja ] || cmake --preset run
	@ninja -C build/release -n dflockd dflockctl | grep -q '^ninja: no work' || cmake --build --preset run
	@exec build/release/dflockd $(ARGS)

test: build ## run every test
	@ctest --preset release

test-debian12 test-debian13: test-debian%: ## build and run every test in a fresh Debian 12; test-debian13: in a fresh Debian 13; takes root
	@$(DEPS) root
	@tests/packaging/fresh_root.sh $* $(ARGS)

asan: build ## run every test under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake --preset asan
	@cmake --build --preset asan
	@ctest --preset asan

tsan: ## run the client library's tests under ThreadSanitizer
	@$(DEPS)
	@cmake --preset tsan
	@cmake --build --preset tsan
	@ctest --preset tsan

# What ran before is forgotten. Whether the tests pass in time is for `make test` to say: here, where
# all is slower, each may have a second try.
coverage: ## run every test and show which lines ran: build/coverage/html/index.html
	@$(DEPS) coverage
	@cmake --preset coverage
	@cmake --build --preset coverage
	@find build/coverage -name '*.gcda' -delete
	@ctest --preset coverage
	@mkdir -p build/coverage/html
	@gcovr --root . --object-directory build/coverage -j 2 --filter src/ --filter include/ \
	  --exclude-unreachable-branches --json build/coverage/lines.json --html-details build/coverage/html/index.html
	@packaging/coverage.py build/coverage/lines.json

simulate: ## live through SEEDS simulated worlds, 1000 by default, from seed FROM on
	@$(DEPS)
	@cmake --preset release
	@cmake --build --preset release --target simulate
	@build/release/simulate --seeds $(SEEDS) --from $(FROM)

fuzz: ## feed each parser, the lock table and the fence file for SECONDS, 60 by default; or TARGET only
	@$(DEPS) fuzz
	@cmake --preset fuzz $(if $(wildcard /usr/bin/clang++-16),,-DCMAKE_CXX_COMPILER=clang++-19)
	@cmake --build --preset fuzz
	@tests/fuzz/run --seconds $(SECONDS) $(TARGET)

history: build ## torment the server and its clients for MINUTES, 10 by default, and check what they saw; SEED= repeats
	@$(DEPS) history
	@BUILD=build/release tests/history/run_history.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: build ## mixed traffic with faults for MINUTES, 10 by default; fails on a leak, a stall or an error
	@BUILD=build/release tests/soak/soak.py --minutes $(MINUTES) $(ARGS)

bench: build ## compare with an epoll floor, Redis, memcached and others on the same load
	@$(DEPS) bench
	@tests/bench/compare $(ARGS)

format: ## format the sources in place
	@$(DEPS) lint
	@clang-format-14 -i $(SOURCES)

format-check: ## fail if a source is not formatted
	@$(DEPS) lint
	@clang-format-14 --dry-run --Werror $(SOURCES)

tidy: ## run clang-tidy over the sources
	@$(DEPS) lint
	@cmake --preset release
	@packaging/tidy.sh build/release

cppcheck: ## run cppcheck over the sources
	@$(DEPS) lint
	@mkdir -p build/cppcheck
	@cppcheck --std=c++20 --language=c++ --enable=warning,performance,portability -j 2 --quiet \
	  --inline-suppr --suppressions-list=packaging/cppcheck.supp --cppcheck-build-dir=build/cppcheck \
	  -DDFLOCKD_VERSION='""' -I src -I include --error-exitcode=1 src include

openapi-lint: ## lint the description of the HTTP API
	@$(DEPS) openapi
	@tests/openapi/lint.sh

promtool: ## get promtool, without which `make test` skips a test of the metrics
	@$(DEPS) metrics

doxygen: ## write the reference of the client library's API to build/doxygen/html
	@$(DEPS) doxygen
	@mkdir -p build
	@doxygen docs/Doxyfile

install: build ## install into PREFIX (default /usr/local), under DESTDIR if it is set
	@cmake --install build/release --prefix $(PREFIX)

package: ## build the Debian packages, build/package/*.deb
	@$(DEPS)
	@rm -f build/package/*.deb
	@cmake --preset package
	@cmake --build --preset package
	@cd build/package && cpack

package-test: package ## install, upgrade, remove and purge the packages in a throw-away root
	@$(DEPS) package
	@tests/packaging/package_test.py $(ARGS)

package-boot-test: package ## the same in a minimal Debian that boots, under its systemd
	@$(DEPS) package-boot
	@tests/packaging/boot_test.sh

clean: ## remove everything that was built
	@rm -rf build
