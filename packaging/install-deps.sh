#!/bin/sh
# Installs the Debian 12 packages that are missing, and does nothing when all are there.
# Usage: packaging/install-deps.sh [lint | fuzz | bench | doxygen | package | package-boot]
#   (nothing)     what building and testing needs
#   lint          and clang-format and clang-tidy
#   fuzz          and clang with libFuzzer, for `make fuzz`
#   bench         and the servers that `make bench` compares with
#   doxygen       and Doxygen
#   package       and what `make package-test` checks the package with
#   package-boot  and what `make package-boot-test` boots it with
set -eu

packages="build-essential cmake ninja-build pkg-config git python3
  openssl libasio-dev libcli11-dev libspdlog-dev libfmt-dev libssl-dev libsystemd-dev
  nlohmann-json3-dev libhttp-parser-dev prometheus-cpp-dev
  libgtest-dev libgmock-dev librapidcheck-dev"

case "${1-}" in
  '') ;;
  lint) packages="$packages clang-format-14 clang-tidy-16" ;;
  fuzz) packages="$packages clang-16 libclang-rt-16-dev" ;;
  bench) packages="$packages redis-server memcached stunnel4 util-linux" ;;
  doxygen) packages="$packages doxygen" ;;
  package) packages="$packages lintian mandoc man-db systemd zsh fish util-linux" ;;
  package-boot) packages="$packages mmdebstrap systemd-container" ;;
  *)
    echo "install-deps.sh: '$1' is not allowed; expected lint, fuzz, bench, doxygen, package or package-boot" >&2
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
$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q
# shellcheck disable=SC2086 # a list of words is what is wanted
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
