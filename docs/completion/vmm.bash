# SPDX-License-Identifier: Apache-2.0
# bash completion for vmm

_vmm() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'run check help --version --help' -- "$cur")
        return
    fi
    case $prev in
    -k | --kernel | -i | --initrd | --disk | --share | --pmem | --config)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --hw)
        mapfile -t COMPREPLY < <(compgen -W 'fdt mptable auto' -- "$cur")
        return
        ;;
    --console)
        mapfile -t COMPREPLY < <(compgen -W 'stdio none file=' -- "$cur")
        return
        ;;
    esac
    case ${COMP_WORDS[1]} in
    run)
        mapfile -t COMPREPLY < <(compgen -W '--kernel --initrd --append --cpus --memory --hw --disk --share --pmem
            --net --console --serial --boot-report --boot-report=json --config --name --help' -- "$cur")
        ;;
    check) mapfile -t COMPREPLY < <(compgen -W '--json --quick --device --help' -- "$cur") ;;
    help) mapfile -t COMPREPLY < <(compgen -W 'run check' -- "$cur") ;;
    esac
}
complete -o default -F _vmm vmm
