# fish completion for dflockd-bench(1)

complete -c dflockd-bench -f

complete -c dflockd-bench -l host -x -a '(__fish_print_hostnames)' -d 'Address or name of the server'
complete -c dflockd-bench -l port -x -d 'Port of the server'
complete -c dflockd-bench -l protocol -x -a 'dflockd redis memcached' -d 'What it speaks'
complete -c dflockd-bench -l server-pid -x -a '(__fish_complete_pids)' -d 'Its process, to measure the CPU time it uses'
complete -c dflockd-bench -l connections -x -d 'How many connections'
complete -c dflockd-bench -l pipeline -x -d 'Requests that each connection has in flight'
complete -c dflockd-bench -l keys -x -a 'own shared' -d 'A key for each request in flight, or one for all'
complete -c dflockd-bench -l semaphore -x -d 'Acquire semaphores of this limit instead of locks'
complete -c dflockd-bench -l hold -x -d 'Milliseconds between a grant and its release'
complete -c dflockd-bench -l timeout -x -d 'Seconds that an acquire may wait'
complete -c dflockd-bench -l lease -x -d 'Seconds of lease to ask for'
complete -c dflockd-bench -l busy-poll -d 'Use a whole core instead of sleeping'
complete -c dflockd-bench -l duration -x -d 'Seconds to measure'
complete -c dflockd-bench -l warmup -x -d 'Seconds of load before measuring'
complete -c dflockd-bench -l count -x -d 'Measure this many cycles'
complete -c dflockd-bench -l json -d 'Print one JSON object instead of text'
complete -c dflockd-bench -l quiet -d 'No progress line on a terminal'
complete -c dflockd-bench -l version -d 'Print the version, exit'
complete -c dflockd-bench -s h -l help -d 'Print the help, exit'
