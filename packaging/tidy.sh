#!/bin/sh
# Runs clang-tidy over the sources that a build directory knows, on as many cores as there are.
# Usage: packaging/tidy.sh [BUILD_DIRECTORY]
set -eu
build=${1-build/release}

# libstdc++'s coroutines and asio's ask clang 16 for a macro that only later versions predefine.
exec run-clang-tidy-16 -quiet -p "$build" -j "$(nproc)" \
  -extra-arg=-D__cpp_impl_coroutine=201902L -extra-arg=-DASIO_HAS_CO_AWAIT \
  -extra-arg=-DASIO_HAS_STD_COROUTINE -extra-arg=-Wno-unknown-warning-option \
  "^$(pwd)/src/"
