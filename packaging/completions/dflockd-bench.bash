# bash completion for dflockd-bench(1)                                      -*- shell-script -*-

_dflockd_bench() {
  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  # bash makes three words of --flag=value.
  if [[ $current == = ]]; then
    current=
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]}
  fi

  case $flag in
    --host)
      mapfile -t COMPREPLY < <(compgen -A hostname -- "$current")
      ;;
    --tls-ca | --auth-token-file)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    --protocol)
      mapfile -t COMPREPLY < <(compgen -W 'dflockd redis memcached' -- "$current")
      ;;
    --keys)
      mapfile -t COMPREPLY < <(compgen -W 'own shared' -- "$current")
      ;;
    --server-pid)
      mapfile -t COMPREPLY < <(compgen -W "$(pidof dflockd redis-server memcached)" -- "$current")
      ;;
    --port | --connections | --pipeline | --semaphore | --hold | --timeout | --lease | --duration | \
      --warmup | --count) ;;
    *)
      mapfile -t COMPREPLY < <(compgen -W '--host --port --protocol --http --server-pid --tls
        --tls-ca --tls-insecure --auth-token-file --connections --pipeline --keys --semaphore --hold
        --timeout --lease --handshakes --resume --no-ping --busy-poll --duration --warmup --count --json
        --quiet --version --help' -- "$current")
      ;;
  esac
}

complete -F _dflockd_bench dflockd-bench
