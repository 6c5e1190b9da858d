# SPDX-License-Identifier: Apache-2.0
# bash completion for husk

_husk_ids() {
    husk list --quiet 2>/dev/null
}

_husk() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' i
    local verbs='create start run state kill delete list spec features help'
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --root | --log | --log-format | --assets) i=$((i + 1)) ;;
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
    --log | --pid-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --log-format)
        mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur")
        return
        ;;
    esac
    case $verb in
    '') mapfile -t COMPREPLY < <(compgen -W "$verbs --root --log --log-format --debug --assets --version --help" -- "$cur") ;;
    create) mapfile -t COMPREPLY < <(compgen -W '--bundle --pid-file' -- "$cur") ;;
    run) mapfile -t COMPREPLY < <(compgen -W '--bundle --pid-file --detach --boot-report --boot-report=json' -- "$cur") ;;
    start | state) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids)" -- "$cur") ;;
    kill) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) TERM KILL INT HUP USR1 USR2" -- "$cur") ;;
    delete) mapfile -t COMPREPLY < <(compgen -W "$(_husk_ids) --force" -- "$cur") ;;
    list) mapfile -t COMPREPLY < <(compgen -W '--format --quiet' -- "$cur") ;;
    spec) mapfile -t COMPREPLY < <(compgen -W '--bundle' -- "$cur") ;;
    help) mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
    esac
}
complete -F _husk husk
