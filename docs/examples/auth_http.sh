#!/bin/sh
# The shared secret over HTTP. Only probes work without it.
#
#   auth_http.sh URL TOKEN_FILE
set -eu
url=$1
file=$2

curl -sS "$url/health"

# From a file, so that `ps` does not show it.
header=$(mktemp)
trap 'rm -f "$header"' EXIT
printf 'Authorization: Bearer %s\n' "$(cat "$file")" >"$header"

curl -sS -o /dev/null -w 'without the secret: %{http_code}\n' -X POST "$url/v1/sessions"
curl -sS -o /dev/null -w 'with the secret: %{http_code}\n' -H "@$header" -X POST "$url/v1/sessions"
