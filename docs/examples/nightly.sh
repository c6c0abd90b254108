#!/bin/sh
# A cron job that runs on every machine, and of which only one at a time does anything. In crontab:
#
#   15 3 * * *  /usr/local/bin/nightly.sh lockd.internal:6388
#
# --try does not wait: who comes second ends with status 124, and cron has nothing to mail.
set -eu
server=${1:-127.0.0.1:6388}

status=0
dflockctl --server "$server" lock nightly --try -- \
  sh -c 'echo "running the nightly job with fence $DFLOCKD_FENCE"' || status=$?

[ "$status" -ne 124 ] || exit 0  # somebody else runs it
exit "$status"
