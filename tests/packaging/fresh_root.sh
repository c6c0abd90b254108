#!/bin/bash
# Does in a throw-away Debian what a newcomer does with a fresh clone of what is committed. Needs root,
# Debian's archive and mmdebstrap; run it by `make test-debian12` or `make test-debian13`.
#
# Usage: fresh_root.sh 12|13 [run|test|client]...
#   run     `make run`, timed, and once more, which must print nothing but what the server says
#   test    `make test`, with a compiler that warns of nothing
#   client  the client library alone, with nothing installed but a compiler, CMake, asio and OpenSSL
# With no step named: run and test, in one root. DFLOCKD_MIRROR= names an archive other than this machine's.
set -euo pipefail

fail() {
  echo "fresh_root.sh: $1" >&2
  exit 1
}

# Starts the server by `make run` and waits until it listens. Its output is in $log.
serve() {
  set -m
  make run ARGS="--port 0" >"$log" 2>&1 &
  local make=$!
  set +m
  until grep -q ' info listening ' "$log"; do
    kill -0 "$make" 2>/dev/null || { cat "$log"; fail "make run failed"; }
    sleep 0.05
  done
  served=$EPOCHREALTIME
  kill -INT -- "-$make"  # Ctrl-C
  wait "$make" || true
  grep -q ' info exiting status=0' "$log" || { cat "$log"; fail "Ctrl-C did not end the server"; }
}

seconds_since() { awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $1 }"; }

no_warning() {
  if grep -n 'warning:' "$1"; then fail "warnings of the compiler"; fi
}

step_run() {
  local began=$EPOCHREALTIME
  packaging/install-deps.sh run >"$log" 2>&1 || { cat "$log"; fail "no packages"; }
  echo "make run: packages in $(seconds_since "$began") s: $(grep -m1 'Need to get' "$log")"
  began=$EPOCHREALTIME
  serve
  no_warning "$log"
  echo "make run: serves after $(awk "BEGIN { printf \"%.1f\", $served - $began }") s: $(grep -c '^\[' "$log") steps, load $(cut -d' ' -f1-3 /proc/loadavg)"
  serve
  if grep -v "^20[0-9-]*T[0-9:.]*Z info " "$log"; then fail "a second make run says more than the server"; fi
}

step_test() {
  local began=$EPOCHREALTIME
  packaging/install-deps.sh >"$log" 2>&1 || { cat "$log"; fail "no packages"; }
  echo "make test: packages in $(seconds_since "$began") s: $(grep -m1 'Need to get' "$log")"
  began=$EPOCHREALTIME
  make test 2>&1 | tee "$log" | grep -v '^\[[0-9]*/[0-9]*\] \|Passed' || fail "make test failed"
  no_warning "$log"
  echo "make test: passed in $(seconds_since "$began") s"
}

step_client() {
  apt-get update -q >"$log" 2>&1
  apt-get install -y --no-install-recommends g++ cmake ninja-build libasio-dev libssl-dev >"$log" 2>&1 ||
    { cat "$log"; fail "no packages"; }
  { cmake -G Ninja -S . -B build/client -DDFLOCKD_CLIENT_ONLY=ON && cmake --build build/client; } >"$log" 2>&1 ||
    { cat "$log"; fail "the client library cannot be built alone"; }
  no_warning "$log"
  DESTDIR=$PWD/build/staging cmake --install build/client >"$log"
  echo "client: built alone, $(grep -c Installing "$log") files installed"
}

if [[ ${1-} == --inside ]]; then
  shift
  export DEBIAN_FRONTEND=noninteractive
  log=/tmp/log
  for step; do "step_$step"; done
  exit
fi

case ${1-} in
  12) codename=bookworm ;;
  13) codename=trixie ;;
  *) fail "'${1-}' is not allowed; expected 12 or 13" ;;
esac
shift
(($#)) || set -- run test
[[ $(id -u) == 0 ]] || fail "not root, which making a root file system takes"

cd "$(dirname "$0")/../.."
place=$(mktemp -d --tmpdir dflockd-fresh-root.XXXXXX)
trap 'rm -rf --one-file-system "$place"' EXIT
root=$place/root

# The archive that this machine has Debian from, by the proxy that it uses for it.
mirror=${DFLOCKD_MIRROR-$(apt-get indextargets --format '$(ORIGIN) $(SITE)' 'Created-By: Packages' 2>/dev/null |
  sed -n 's/^Debian //p' | grep -v security | head -1 || true)}
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || true)"
mmdebstrap --quiet --variant=minbase --include=git,make ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
  "$codename" "$root" "${mirror:-http://deb.debian.org/debian}"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
git clone -q . "$root/root/dflockd"

echo "Debian $(cat "$root/etc/debian_version"), $(git log -1 --format='%h %s'), on $(nproc) processors"
# In name spaces of its own, so that nothing stays mounted or running.
unshare --mount --pid --fork --kill-child bash -euc '
  root=$1
  shift
  mount --rbind /dev "$root/dev"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"
  exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
    ${http_proxy:+http_proxy="$http_proxy"} \
    bash -c "cd /root/dflockd && exec tests/packaging/fresh_root.sh --inside \"\$@\"" inside "$@"
' outside "$root" "$@"
