#!/bin/sh
# What a client sees of --http-max-sessions-per-ip and --http-rate-limit-per-ip.
#
#   per_ip_limits_http.sh URL
set -eu
url=$1
missing=

# Open sessions until one is refused, and close them again.
sessions=
refusal=
count=0
while [ "$count" -lt 200 ] && [ -z "$refusal" ]; do
  count=$((count + 1))
  answer=$(curl -sS -w ' %{http_code}' -X POST "$url/v1/sessions" | tr -d '\n')
  case $answer in
    *' 200') id=${answer#*'"session_id":"'} && sessions="$sessions ${id%%'"'*}" ;;
    *) refusal=$answer ;;
  esac
done
for session in $sessions; do
  curl -sS -o /dev/null -X DELETE "$url/v1/sessions/$session"
done
if [ -n "$refusal" ]; then
  echo "session $count: $refusal"
else
  echo "$count sessions, and none refused: set --http-max-sessions-per-ip below that" >&2
  missing=yes
fi

# Send requests, one after another over one connection, until one is refused.
answer=$(curl -s --fail-early --fail-with-body -w ' %{http_code}\n' "$url/v1/stats#[1-2000]" |
  tail -n 2 | tr -d '\n')
case $answer in
  *' 429') echo "too fast: {${answer##*'{'}" ;;
  *) echo "2000 requests, and none refused: set --http-rate-limit-per-ip below that" >&2 && missing=yes ;;
esac

[ -z "$missing" ]
