#!/bin/sh
# A cron job that every machine starts, and that runs on one of them at a time. In crontab:
#
#   15 3 * * *  /usr/local/bin/nightly.sh lockd.internal:6388
#
# --try does not wait for the lock, and --conflict-exit-code 0 makes it a success, without a message,
# if another machine has it: then cron has nothing to mail. The status is the job's otherwise, or
# dflockctl's own: see dflockctl(1).
set -eu
server=${1:-127.0.0.1:6388}

exec dflockctl --server "$server" lock nightly --try --conflict-exit-code 0 -- \
  sh -c 'echo "running the nightly job with fence $DFLOCKD_FENCE"'
