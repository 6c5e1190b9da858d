# SPDX-License-Identifier: Apache-2.0
# bash completion for husk

_husk_ids() {
    husk list --quiet 2>/dev/null
}

_husk() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' i
    local verbs='create start run exec state kill delete ps pause resume update events list bench spec features check env help'
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --root | --log | --log-format | --config | --assets) i=$((i + 1)) ;;
        -*) ;;
        *)
            verb=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    case $prev in
    --root | --assets | -b | --bundle)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --log | --pid-file | --pidfd-socket | --config | --console-socket | --resources | -p | --process)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --log-format)
        mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur")
        return
        ;;
    esac
    case $verb in
    '') mapfile -t COMPREPLY < <(compgen -W "$verbs --root --log --log-format --debug --systemd-cgroup --config --assets --version --help" -- "$cur") ;;
    check | env) mapfile -t COMPREPLY < <(compgen -W '--json' -- "$cur") ;;
    create) mapfile -t COMPREPLY < <(compgen -W '--bundle --pid-file --pidfd-socket --console-socket' -- "$cur") ;;
    run) mapfile -t COMPREPLY < <(compgen -W '--bundle --pid-file --pidfd-socket --console-socket --detach --keep --boot-report --boot-report=json' -- "$cur") ;;
    exec) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --process --cwd --env --tty --user --additional-gids --cap
            --no-new-privs --detach --pid-file --pidfd-socket --console-socket --ignore-paused" -- "$cur") ;;
    start | state) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids)" -- "$cur") ;;
    kill) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --all TERM KILL INT HUP USR1 USR2" -- "$cur") ;;
    delete) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --force" -- "$cur") ;;
    pause | resume) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids)" -- "$cur") ;;
    ps) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --format" -- "$cur") ;;
    events) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --stats --interval" -- "$cur") ;;
    update) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --resources --memory --memory-reservation --memory-swap --cpu-period --cpu-quota --cpu-share --cpu-burst --cpu-idle --cpuset-cpus --cpuset-mems --blkio-weight --pids-limit" -- "$cur") ;;
    list) mapfile -t COMPREPLY < <(compgen -W '--format --quiet' -- "$cur") ;;
    bench) mapfile -t COMPREPLY < <(compgen -W 'run create-start exec --bundle --runs --warm-up --parallel --peer --until --timeout
        --json --csv --svg --quiet' -- "$cur") ;;
    spec) mapfile -t COMPREPLY < <(compgen -W '--bundle' -- "$cur") ;;
    help) mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
    esac
}
complete -F _husk husk
