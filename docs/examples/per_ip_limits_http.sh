#!/bin/sh
# What a client sees of --http-rate-limit-per-ip and --http-max-sessions-per-ip.
#
#   per_ip_limits_http.sh URL
set -eu
url=$1

count=0
while [ "$count" -lt 1000 ]; do
  count=$((count + 1))
  answer=$(curl -sS -w '%{http_code}' -X POST "$url/v1/sessions" | paste -sd ' ' -)
  case $answer in
    *' 200') continue ;;
    *' 429') echo "the rate limit: $answer" ;;
    *' 503') echo "the session cap: $answer" ;;
    *) echo "unexpected: $answer" >&2 && exit 1 ;;
  esac
  exit 0
done
echo "no limit in sight" >&2
exit 1
