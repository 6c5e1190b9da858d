# SPDX-License-Identifier: Apache-2.0
# bash completion for vmm

_vmm() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'run bench ctl check help --version --help' -- "$cur")
        return
    fi
    case $prev in
    -k | --kernel | --restore | save | -i | --initrd | --disk | --share | --pmem | --config | --csv | --svg)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --peer)
        mapfile -t COMPREPLY < <(compgen -W 'qemu firecracker cloud-hypervisor kvmtool' -- "$cur")
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
        mapfile -t COMPREPLY < <(compgen -W '--kernel --initrd --append --cpus --memory --memory-max --balloon --spare-disk --control --restore --hw --disk --share --pmem
            --net --console --serial --boot-report --boot-report=json --config --name --help' -- "$cur")
        ;;
    bench)
        mapfile -t COMPREPLY < <(compgen -W 'boot --kernel --initrd --append --cpus --memory --hw --disk --share --pmem
            --net --serial --console --runs --warm-up --parallel --peer --until --memory-use --timeout --json --csv
            --svg --quiet --help' -- "$cur")
        ;;
    ctl) mapfile -t COMPREPLY < <(compgen -W 'info stats pause resume save stop memory balloon add-disk resize-disk link --json --help' -- "$cur") ;;
    check) mapfile -t COMPREPLY < <(compgen -W '--json --quick --device --help' -- "$cur") ;;
    help) mapfile -t COMPREPLY < <(compgen -W 'run bench ctl check' -- "$cur") ;;
    esac
}
complete -o default -F _vmm vmm
