#!/bin/sh
# Runs a command in a network namespace whose loopback interface has the IPv6 addresses of several
# networks, or as it is where no namespace may be made. Usage: with_ipv6.sh COMMAND...
unshare --map-root-user --net true 2>/dev/null || exec "$@"
exec unshare --map-root-user --net sh -euc '
  ip link set lo up
  for address in fd00::1 fd00:1::1 fd00:1::2 fd00:1::ffff:0:0:3 fd00:1:0:1::1; do
    ip -6 address add "$address/128" dev lo nodad
  done
  exec "$@"' sh "$@"
