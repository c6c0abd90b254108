# fish completion for dflockctl(1)

function __dflockctl_uses
    # Whether the subcommand is one of those given, and its command has not begun.
    set -l words (commandline -opc)
    contains -- -- $words; and return 1
    for word in $words[2..-1]
        if contains -- $word lock semaphore acquire release renew stats ping
            contains -- $word $argv
            return
        end
    end
    contains -- none $argv
end

function __dflockctl_command
    # What stands behind the two dashes is a command, with completions of its own.
    set -l words (commandline -opc)
    set -l dashes (contains -i -- -- $words)
    and complete -C (string join ' ' -- (string escape -- $words[(math $dashes + 1)..-1]) (commandline -ct))
end

complete -c dflockctl -f
complete -c dflockctl -n 'contains -- -- (commandline -opc)' -a '(__dflockctl_command)'

complete -c dflockctl -n '__dflockctl_uses none' -a lock -d 'Run a command while a lock is held'
complete -c dflockctl -n '__dflockctl_uses none' -a semaphore -d 'Run a command while a slot of a semaphore is held'
complete -c dflockctl -n '__dflockctl_uses none' -a acquire -d 'Acquire a lock and leave it held'
complete -c dflockctl -n '__dflockctl_uses none' -a release -d 'Give back what was acquired'
complete -c dflockctl -n '__dflockctl_uses none' -a renew -d 'Renew the lease of a lock or a slot'
complete -c dflockctl -n '__dflockctl_uses none' -a stats -d 'Show what is held'
complete -c dflockctl -n '__dflockctl_uses none' -a ping -d 'Ask for a sign of life'

complete -c dflockctl -l server -x -a '(__fish_print_hostnames)' -d 'host:port of a server'
complete -c dflockctl -l tls -d 'Speak TLS'
complete -c dflockctl -l tls-ca -r -F -d 'Authorities that may have signed the server\'s certificate'
complete -c dflockctl -l tls-cert -r -F -d 'Certificate to show to the server'
complete -c dflockctl -l tls-key -r -F -d 'Its private key'
complete -c dflockctl -l tls-server-name -x -d 'Name that the server\'s certificate must be for'
complete -c dflockctl -l auth-token-file -r -F -d 'Holds the secret that the server demands'
complete -c dflockctl -l version -d 'Print the version, exit'
complete -c dflockctl -s h -l help -d 'Print the help, exit'

complete -c dflockctl -n '__dflockctl_uses semaphore acquire' -l limit -x -d 'How many may hold it'
complete -c dflockctl -n '__dflockctl_uses acquire release renew' -l semaphore -d 'A slot of a semaphore, not a lock'
complete -c dflockctl -n '__dflockctl_uses lock semaphore acquire' -l timeout -x -a '500ms 10s 2m 1h' -d 'How long to wait'
complete -c dflockctl -n '__dflockctl_uses lock semaphore acquire' -l try -d 'Do not wait'
complete -c dflockctl -n '__dflockctl_uses lock semaphore' -l conflict-exit-code -x -d 'Exit status if not granted in time'
complete -c dflockctl -n '__dflockctl_uses lock semaphore acquire renew' -l lease -x -a '10s 2m 1h' -d 'How long the grant lives without a renewal'
complete -c dflockctl -n '__dflockctl_uses lock semaphore' -l no-auto-release -d 'The server keeps grants when connections end'
complete -c dflockctl -n '__dflockctl_uses stats' -l json -d 'Print what the server sends'
complete -c dflockctl -n '__dflockctl_uses stats' -l watch -d 'Show it again and again'
