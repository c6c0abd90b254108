# bash completion for dflockd(8)                                            -*- shell-script -*-

_dflockd() {
  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} joined=
  COMPREPLY=()
  # bash makes three words of --flag=value.
  if [[ $current == = ]]; then
    current= joined=yes
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]} joined=yes
  fi

  case $flag in
    --fence-state-file | --tls-cert | --tls-key | --tls-client-ca | --auth-token-file | --config)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --log-level)
      mapfile -t COMPREPLY < <(compgen -W 'debug info warn error' -- "$current")
      return
      ;;
    --log-format)
      mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current")
      return
      ;;
    --host | --http-host | --http-allowed-hosts)
      mapfile -t COMPREPLY < <(compgen -A hostname -W '127.0.0.1 0.0.0.0 ::1 ::' -- "$current")
      return
      ;;
    --auto-release-on-disconnect | --debug | --check-config)
      # A value of theirs stands behind "=" only.
      if [[ $joined ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'true false yes no on off' -- "$current")
        return
      fi
      ;;
    --port | --read-timeout | --write-timeout | --shutdown-timeout | --max-connections | \
      --max-connections-per-ip | --ipv6-prefix | --max-lease-ttl | --default-lease-ttl | \
      --lease-sweep-interval | --gc-interval | --gc-max-idle | --max-locks | --max-waiters | \
      --max-claims | --auth-token | --http-port | --http-session-idle-timeout | \
      --http-max-sessions | --http-max-sessions-per-ip | --http-max-connections | \
      --http-max-connections-per-ip | --http-rate-limit-per-ip | --http-rate-limit-burst | \
      --http-cors-allowed-origins)
      return
      ;;
  esac
  [[ $joined ]] && return

  mapfile -t COMPREPLY < <(compgen -W '--host --port --read-timeout --write-timeout
    --shutdown-timeout --max-connections --max-connections-per-ip --ipv6-prefix
    --auto-release-on-disconnect --no-auto-release-on-disconnect
    --max-lease-ttl --default-lease-ttl --lease-sweep-interval --gc-interval --gc-max-idle
    --max-locks --max-waiters --max-claims --fence-state-file
    --tls-cert --tls-key --tls-client-ca
    --auth-token --auth-token-file
    --http-port --http-host --http-session-idle-timeout --http-max-sessions
    --http-max-sessions-per-ip --http-max-connections --http-max-connections-per-ip
    --http-rate-limit-per-ip --http-rate-limit-burst --http-allowed-hosts
    --http-cors-allowed-origins
    --log-level --log-format --debug
    --config --check-config --version --help' -- "$current")
}

complete -F _dflockd dflockd
