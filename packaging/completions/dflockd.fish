# fish completion for dflockd(8)

complete -c dflockd -f

complete -c dflockd -l host -x -a '(__fish_print_hostnames)' -d 'Bind address: IPv4, IPv6 or a name'
complete -c dflockd -l port -x -d 'TCP port; 0 picks a free one and logs it'
complete -c dflockd -l read-timeout -x -d 'Longest silence of a client that holds and waits for nothing'
complete -c dflockd -l write-timeout -x -d 'Longest wait for a client to take its replies'
complete -c dflockd -l shutdown-timeout -x -d 'Longest drain after SIGTERM or SIGINT; 0 waits for ever'
complete -c dflockd -l max-connections -x -d 'Connections at a time; 0 = no cap'
complete -c dflockd -l max-connections-per-ip -x -d 'Connections of one IP address at a time; 0 = no cap'
complete -c dflockd -l ipv6-prefix -x -d 'Bits that make one IPv6 address, for all caps and rates per IP'
complete -c dflockd -l auto-release-on-disconnect -a 'true false yes no on off' -d 'Release what a client was granted when its connection ends'
complete -c dflockd -l no-auto-release-on-disconnect -d 'Keep what a client was granted when its connection ends'

complete -c dflockd -l max-lease-ttl -x -d 'Longest lease, to which longer ones are cut; 0 = no cap'
complete -c dflockd -l default-lease-ttl -x -d 'Lease of a grant whose request names none'
complete -c dflockd -l lease-sweep-interval -x -d 'Longest time between sweeps for leases nobody waits for'
complete -c dflockd -l gc-interval -x -d 'Time between collections of idle keys'
complete -c dflockd -l gc-max-idle -x -d 'Idle time after which a key is collected; 0 = next pass'
complete -c dflockd -l max-locks -x -d 'Keys with state, locks and semaphores together; 0 = no cap'
complete -c dflockd -l max-waiters -x -d 'Waiters in one key\'s queue; 0 = no cap'
complete -c dflockd -l max-claims -x -d 'Grants, waits and phase-1 places in all; 0 = no cap'
complete -c dflockd -l fence-state-file -r -F -d 'Where fences are reserved, so that no restart repeats one'

complete -c dflockd -l tls-cert -r -F -d 'Certificate chain in PEM; needs --tls-key, turns TLS on'
complete -c dflockd -l tls-key -r -F -d 'Private key of the certificate, in PEM'
complete -c dflockd -l tls-client-ca -r -F -d 'Let in only clients with a certificate signed by these CAs'

complete -c dflockd -l auth-token -x -d 'Shared secret that clients must send first; visible in ps'
complete -c dflockd -l auth-token-file -r -F -d 'File with that secret on its only line'

complete -c dflockd -l http-port -x -d 'TCP port of the HTTP API; 0 = off'
complete -c dflockd -l http-host -x -a '(__fish_print_hostnames)' -d 'Bind address of the HTTP API; none = as --host'
complete -c dflockd -l http-session-idle-timeout -x -d 'Time without a request; after twice that a session ends'
complete -c dflockd -l http-max-sessions -x -d 'Sessions at a time; 0 = no cap'
complete -c dflockd -l http-max-sessions-per-ip -x -d 'Sessions of one IP address at a time; 0 = no cap'
complete -c dflockd -l http-max-connections -x -d 'HTTP connections at a time; 0 = what descriptors allow'
complete -c dflockd -l http-max-connections-per-ip -x -d 'HTTP connections of one IP address at a time; 0 = no cap'
complete -c dflockd -l http-rate-limit-per-ip -x -d 'Requests a second of one IP address; 0 = no limit'
complete -c dflockd -l http-rate-limit-burst -x -d 'Requests that may come at once under the limit; 0 = the rate'
complete -c dflockd -l http-allowed-hosts -x -a '(__fish_print_hostnames)' -d 'Names a request\'s Host header may give, separated by commas'
complete -c dflockd -l http-cors-allowed-origins -x -d 'Whose web pages may ask, separated by commas; * = any'

complete -c dflockd -l log-level -x -a 'debug info warn error' -d 'From which level on lines are logged'
complete -c dflockd -l log-format -x -a 'text json' -d 'What a log line looks like'
complete -c dflockd -l debug -a 'true false yes no on off' -d 'The same as --log-level debug'

complete -c dflockd -l config -r -F -d 'TOML file with the names above, without the dashes, as keys'
complete -c dflockd -l check-config -a 'true false yes no on off' -d 'Check everything, print the effective configuration, exit'
complete -c dflockd -l version -d 'Print the version, exit'
complete -c dflockd -s h -l help -d 'Print all flags, exit'
