#!/bin/sh
# Lints docs/openapi.json with Redocly's recommended rules, of which a warning fails as an error
# does. Needs npx of a Node.js that the linter runs on (20.19 or later) and, the first time, the npm
# registry.
# Usage: tests/openapi/lint.sh
set -eu
cd "$(dirname "$0")/../.."

command -v npx >/dev/null || {
  echo "lint.sh: npx is missing; it comes with Node.js 20.19 or later" >&2
  exit 1
}
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
exec npx --yes @redocly/cli@2.77.0 lint --extends=recommended-strict docs/openapi.json
