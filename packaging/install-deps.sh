#!/bin/sh
# Installs the packages of Debian 12 or 13 that are missing, and does nothing, silently, when all are there.
# Usage: packaging/install-deps.sh [run | lint | coverage | fuzz | history | bench | openapi | metrics | doxygen | package | package-boot | root]
#   (nothing)     what building and testing needs
#   run           only what building the server and dflockctl needs, for `make run`
#   lint          and clang-format, where there is the one that decides, clang-tidy and cppcheck
#   coverage      and gcovr, for `make coverage`
#   fuzz          and clang with libFuzzer, for `make fuzz`
#   history       and ip, for the network namespaces of `make history`
#   bench         and the servers that `make bench` compares with, which are not started
#   openapi       only npx, for `make openapi-lint`, and only if there is none
#   metrics       only promtool, and if there is none, into build/tools: its package brings a daemon
#   doxygen       and Doxygen
#   package       and what `make package-test` checks the package with
#   package-boot  and what `make package-boot-test` boots it with
#   root          only what makes the roots of `make test-debian12` and `make test-debian13`
set -eu

run="g++ cmake ninja-build libasio-dev libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev
  libssl-dev libsystemd-dev nlohmann-json3-dev prometheus-cpp-dev"
packages="$run build-essential ccache pkg-config git python3 openssl
  libgtest-dev libgmock-dev librapidcheck-dev curl jq netcat-openbsd"

command -v apt-get >/dev/null || {
  echo "install-deps.sh: no apt-get; install what corresponds to these and run make with DEPS=true:" $packages >&2
  exit 1
}

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

# What differs between the releases: Debian 13 has no clang-format 14, which decides how sources look.
release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
clang=19
[ "$release" != bookworm ] || clang=16

case "${1-}" in
  '') ;;
  run) packages=$run ;;
  lint)
    packages="$packages clang-tidy-22 cppcheck"
    [ "$release" != bookworm ] || packages="$packages clang-format-14"
    ;;
  coverage) packages="$packages gcovr" ;;
  fuzz) packages="$packages clang-$clang libclang-rt-$clang-dev" ;;
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
  root) packages="mmdebstrap" ;;
  *)
    echo "install-deps.sh: '$1' is not allowed; expected run, lint, coverage, fuzz, history, bench, openapi, metrics, doxygen, package, package-boot or root" >&2
    exit 2
    ;;
esac

# One question for all; what dpkg does not know is missing from its answer.
# shellcheck disable=SC2086 # a list of words is what is wanted
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ' $packages 2>/dev/null || true)
missing=
for package in $packages; do
  case " $installed" in *" installed $package "*) ;; *) missing="$missing $package" ;; esac
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
