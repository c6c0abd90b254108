#!/bin/bash
# The line protocol from a shell, without a client: three lines in, one line out.
#
#   raw_tcp.sh [HOST] [PORT]
set -euo pipefail
host=${1:-localhost}
port=${2:-6388}

exec {server}<>"/dev/tcp/$host/$port"

ask() {
  printf '%s\n' "$@" >&"$server"
  IFS= read -r reply <&"$server"
}

ask l my-key 10  # command, key, seconds to wait
read -r status token lease <<<"$reply"
[ "$status" = ok ] || { echo "not granted: $reply" >&2; exit 1; }
echo "granted for $lease s"

ask n my-key "$token 60"  # renew to 60 seconds
echo "renewed: $reply"

ask r my-key "$token"  # release
echo "released: $reply"

# If this script ends before that, the connection does, and the server releases what it held.
exec {server}>&-
