#!/bin/sh
# Installs the Debian 12 packages that are missing, and does nothing when all are there.
# Usage: packaging/install-deps.sh [lint | coverage | fuzz | bench | openapi | metrics | doxygen | package | package-boot]
#   (nothing)     what building and testing needs
#   lint          and clang-format, clang-tidy and cppcheck
#   coverage      and gcovr, for `make coverage`
#   fuzz          and clang with libFuzzer, for `make fuzz`
#   history       and ip, for the network namespaces of `make history`
#   bench         and the servers that `make bench` compares with, which are not started
#   openapi       only npx, for `make openapi-lint`, and only if there is none
#   metrics       only promtool, and if there is none, into build/tools: its package brings a daemon
#   doxygen       and Doxygen
#   package       and what `make package-test` checks the package with
#   package-boot  and what `make package-boot-test` boots it with
set -eu

packages="build-essential ccache cmake ninja-build pkg-config git python3
  openssl libasio-dev libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev libssl-dev libsystemd-dev
  nlohmann-json3-dev libhttp-parser-dev prometheus-cpp-dev
  zlib1g-dev libgtest-dev libgmock-dev librapidcheck-dev
  curl jq netcat-openbsd"

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian's promtool without what is around it.
get_promtool() {
  command -v promtool >/dev/null && return
  tools=$(cd "$(dirname "$0")/.." && pwd)/build/tools
  [ ! -x "$tools/promtool" ] || return 0
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  cd "$place"
  apt-get download -q prometheus || { as_root apt-get update -q && apt-get download -q prometheus; } || {
    echo "install-deps.sh: no promtool, and apt-get cannot download the package prometheus" >&2
    exit 1
  }
  mkdir -p "$tools"
  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
  mv usr/bin/promtool "$tools"
}

case "${1-}" in
  '') ;;
  lint) packages="$packages clang-format-14 clang-tidy-22 cppcheck" ;;
  coverage) packages="$packages gcovr" ;;
  fuzz) packages="$packages clang-16 libclang-rt-16-dev" ;;
  history) packages="$packages iproute2" ;;
  bench) packages="$packages redis-server memcached stunnel4 nginx-light wrk util-linux" ;;
  openapi)
    if command -v npx >/dev/null; then exit; fi
    packages="nodejs npm"
    ;;
  metrics)
    get_promtool
    exit
    ;;
  doxygen) packages="$packages doxygen" ;;
  package) packages="$packages lintian mandoc man-db systemd zsh fish util-linux" ;;
  package-boot) packages="$packages mmdebstrap systemd-container" ;;
  *)
    echo "install-deps.sh: '$1' is not allowed; expected lint, coverage, fuzz, history, bench, openapi, metrics, doxygen, package or package-boot" >&2
    exit 2
    ;;
esac

missing=
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
  echo "install-deps.sh: not root and no sudo; as root: apt-get install$missing" >&2
  exit 1
fi

# `make bench` starts the servers itself, and nobody asked for a web server on port 80. (They are
# enabled all the same: `systemctl disable` keeps them from starting at the next boot.) Where this
# file exists already, as in most containers, its owner has decided.
policy=/usr/sbin/policy-rc.d
if [ "${1-}" = bench ] && [ ! -e "$policy" ]; then
  trap 'as_root rm -f "$policy"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
fi

echo "Installing:$missing"
as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
# shellcheck disable=SC2086 # a list of words is what is wanted
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
