# bash completion for dflockctl(1)                                          -*- shell-script -*-

_dflockctl() {
  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} subcommand= word i
  local flags='--server --tls --tls-ca --tls-cert --tls-key --tls-server-name --auth-token-file
    --version --help'
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case $word in
      lock | semaphore | acquire | release | renew | stats | ping)
        subcommand=${subcommand:-$word}
        ;;
      --)
        # What follows is the command, with completions of its own.
        if declare -F _command_offset >/dev/null; then
          _command_offset $((i + 1))
        elif ((COMP_CWORD == i + 1)); then
          mapfile -t COMPREPLY < <(compgen -c -- "$current")
        else
          mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
        return
        ;;
    esac
  done
  # bash makes three words of --flag=value.
  if [[ $current == = ]]; then
    current=
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]}
  fi

  case $flag in
    --server)
      mapfile -t COMPREPLY < <(compgen -A hostname -- "$current")
      return
      ;;
    --tls-ca | --tls-cert | --tls-key | --auth-token-file)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --timeout | --lease)
      mapfile -t COMPREPLY < <(compgen -W '500ms 10s 2m 1h' -- "$current")
      return
      ;;
    --tls-server-name | --limit | --conflict-exit-code)
      return
      ;;
  esac

  case $subcommand in
    lock) flags+=' --timeout --try --conflict-exit-code --lease --no-auto-release' ;;
    semaphore) flags+=' --limit --timeout --try --conflict-exit-code --lease --no-auto-release' ;;
    acquire) flags+=' --limit --semaphore --timeout --try --lease' ;;
    release) flags+=' --semaphore' ;;
    renew) flags+=' --semaphore --lease' ;;
    stats) flags+=' --json --watch' ;;
    '')
      [[ $current == -* ]] || flags='lock semaphore acquire release renew stats ping'
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
}

complete -F _dflockctl dflockctl
