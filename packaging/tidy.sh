#!/bin/sh
# Runs clang-tidy over the sources that a build directory knows, on as many cores as there are.
# Usage: packaging/tidy.sh [BUILD_DIRECTORY]
set -eu
build=${1-build/release}

# asio 1.22 does not know that this clang has coroutines.
exec run-clang-tidy-22 -quiet -p "$build" -j "$(nproc)" \
  -extra-arg=-DASIO_HAS_CO_AWAIT -extra-arg=-DASIO_HAS_STD_COROUTINE \
  "^$(pwd)/src/"
