#!/bin/bash
# What boot_test.sh runs inside the booted system: the package's life under a real systemd. The
# packages stand in /root: one.deb, and two.deb of a later version; and in /root/source what
# `make install` installs.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "-- $*"; }
fail() {
  say "FAILED: $*"
  journalctl --no-pager -n 30 -o cat
  exit 1
}
property() { systemctl show --property "$1" --value dflockd.service; }
logged() { journalctl --no-pager --sync >/dev/null; journalctl --no-pager -u dflockd -o cat | grep -q -- "$1"; }

# wait_for WHAT COMMAND... runs the command until it succeeds, ten seconds at most.
wait_for() {
  local what=$1 end=$((SECONDS + 10))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "$what"
    sleep 0.1
  done
}
# ask REQUEST... prints the replies; each argument is a line.
ask() {
  local connection
  exec {connection}<>/dev/tcp/127.0.0.1/6388
  printf '%s\n' "$@" >&"$connection"
  for ((reply = 0; reply < $# / 3; ++reply)); do
    read -r -t 10 -u "$connection" line && printf '%s\n' "$line"
  done
  exec {connection}>&-
}
ping() { [[ $(ask ping _ _) == ok ]]; }
ping_over_tls() {
  local replies  # openssl goes on until its time is over
  replies=$(printf 'auth\n_\nsecret\nping\n_\n_\n' |
    timeout 1 openssl s_client -quiet -connect 127.0.0.1:6388 2>/dev/null || true)
  [[ $replies == $'ok\nok' ]]
}
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj "/CN=$1" \
    -keyout /etc/dflockd/server.key -out /etc/dflockd/server.crt 2>/dev/null
  chgrp dflockd /etc/dflockd/server.key
  chmod 0640 /etc/dflockd/server.key
}

say "an installation starts the service"
dpkg -i /root/one.deb >/dev/null
ping || fail "no answer to ping"
tells_its_status() { [[ $(property ActiveState)/$(property StatusText) == active/*connections* ]]; }
wait_for "a status" tells_its_status
[[ $(stat -c '%a %U' /var/lib/dflockd/fences) == "600 dflockd" ]] || fail "the fence state file"
grep -q '^CapBnd:\s*0*$' "/proc/$(property MainPID)/status" || fail "capabilities"
token=$(ask l key 0)

say "an upgrade restarts it and keeps the fences"
before=$(property MainPID)
dpkg -i /root/two.deb >/dev/null
ping || fail "no answer to ping"
[[ $(property MainPID) != "$before" ]] || fail "not restarted"
[[ $(ask l key 0) > $token ]] || fail "the fence went back"

say "TLS, a secret, and a host by name"
echo 127.0.0.1 localhost >/etc/hosts
certificate first
echo secret >/etc/dflockd/token
chgrp dflockd /etc/dflockd/token
chmod 0640 /etc/dflockd/token
sed -i 's,^host = .*,host = "localhost",
  s,^tls-cert = .*,tls-cert = "/etc/dflockd/server.crt",
  s,^tls-key = .*,tls-key = "/etc/dflockd/server.key",
  s,^auth-token-file = .*,auth-token-file = "/etc/dflockd/token",' /etc/dflockd/dflockd.toml
systemctl restart dflockd
ping_over_tls || fail "no answer over TLS"

say "a reload takes the new certificate, and survives a secret that is refused"
certificate second
systemctl reload dflockd
wait_for "reloaded" logged 'reloaded changed=certificate'
: >/etc/dflockd/token
systemctl reload dflockd
wait_for "reload_failed" logged reload_failed
echo secret >/etc/dflockd/token
[[ $(property ActiveState) == active ]] || fail "$(property ActiveState)"
ping_over_tls || fail "no answer over TLS"

say "with the socket, the first client starts it"
systemctl disable --quiet --now dflockd.service
systemctl enable --quiet --now dflockd.socket
[[ $(property ActiveState) == inactive ]] || fail "$(property ActiveState)"
ping_over_tls || fail "no answer over TLS"
systemctl restart dflockd.service
ping_over_tls || fail "no answer over TLS"
systemctl disable --quiet --now dflockd.socket
systemctl stop dflockd.service

say "a crash and a hang restart it, a refused configuration does not"
mkdir -p /run/systemd/system/dflockd.service.d
printf '[Service]\nWatchdogSec=2\nRestartSec=100ms\n' >/run/systemd/system/dflockd.service.d/fast.conf
systemctl daemon-reload
systemctl start dflockd
restarted() { [[ $(property NRestarts)/$(property ActiveState) == "$1/active" ]]; }
systemctl kill -s SEGV dflockd
wait_for "a restart after a crash" restarted 1
systemctl kill -s STOP dflockd
wait_for "a restart by the watchdog" restarted 2
systemctl stop dflockd
echo 'prot = 1' >>/etc/dflockd/dflockd.toml
! systemctl start dflockd 2>/dev/null || fail "started with a bad configuration"
[[ $(property ActiveState)/$(property ExecMainStatus) == failed/2 ]] || fail "$(property ActiveState)"
sed -i '$d' /etc/dflockd/dflockd.toml
rm -r /run/systemd/system/dflockd.service.d
systemctl daemon-reload
systemctl start dflockd

say "a removal stops it and keeps what it knows, a purge does not"
dpkg --remove dflockd >/dev/null 2>&1
[[ $(systemctl is-active dflockd) == inactive ]] || fail "not stopped"
[[ -e /var/lib/dflockd/fences && -e /etc/dflockd/dflockd.toml ]] || fail "state or configuration is gone"
dpkg --purge dflockd >/dev/null 2>&1
[[ ! -e /var/lib/dflockd && ! -e /etc/dflockd ]] || fail "state or configuration is left"

say "an installation under /usr/local runs as well"
cp -a /root/source/usr/local/. /usr/local/
systemd-sysusers dflockd.conf
systemctl daemon-reload
systemctl enable --quiet --now dflockd
ping || fail "no answer to ping"
grep -q '"/var/lib/dflockd/fences"' /usr/local/etc/dflockd/dflockd.toml || fail "no fence state file"
[[ -e /var/lib/dflockd/fences ]] || fail "no fence state file"
say passed
