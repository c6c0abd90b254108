#!/bin/sh
# Lints docs/openapi.json with Redocly's recommended rules, of which a warning fails as an error
# does. Needs npx of a Node.js that the linter runs on (18.17 or later, as Debian 12's is, which
# Redocly 2 is not content with) and, the first time, the npm registry.
# Usage: tests/openapi/lint.sh
set -eu
cd "$(dirname "$0")/../.."

command -v npx >/dev/null || {
  echo "lint.sh: npx is missing; Debian's package npm has it" >&2
  exit 1
}
# Of what is downloaded nothing has to be built, and Debian's npm stumbles over trying to.
export npm_config_ignore_scripts=true npm_config_loglevel=error
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
exec npx --yes @redocly/cli@1.34.5 lint --extends=recommended-strict docs/openapi.json
