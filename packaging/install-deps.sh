#!/bin/sh
# Installs the Debian 12 packages that building and testing need, and nothing when all are there.
# Usage: packaging/install-deps.sh [bench]      (bench adds the servers that `make bench` compares)
set -eu

packages="build-essential cmake ninja-build git python3
  libasio-dev libcli11-dev libspdlog-dev libfmt-dev libssl-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev librapidcheck-dev
  clang-format-14 clang-format clang-tidy-16 clang-16"

case "${1-}" in
  '') ;;
  bench) packages="$packages redis-server memcached" ;;
  *)
    echo "install-deps.sh: unknown argument '$1'; allowed: bench" >&2
    exit 2
    ;;
esac

missing=
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
  sudo=sudo
  command -v sudo >/dev/null || {
    echo "install-deps.sh: not root and no sudo; as root: apt-get install$missing" >&2
    exit 1
  }
fi

echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086 # a list of words is what we want here
$sudo apt-get install -q -y --no-install-recommends $missing
