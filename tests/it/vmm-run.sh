#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run` on a terminal: a busybox shell in our kernel, resize, the ways to end, signals, background.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
vmm=$HUSK_BUILD/bin/vmm
fail() {
    echo "FAIL: $*"
    exit 1
}

cat >"$TMP/init" <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "cpus=$(nproc)"
export PS1='guest> '
# A controlling terminal, so that Ctrl-c and resizes reach the shell's jobs.
exec setsid cttyhack sh
END
"$here/../lib/mkinitrd.sh" "$TMP/initrd" "$TMP/init" || fail mkinitrd

# session STATUS NAME OPTIONS... <<STEPS: vmm run on a pseudo terminal
session() {
    local want=$1 name=$2 rc=0
    shift 2
    cat >"$TMP/$name.steps"
    timeout 150 python3 "$here/../lib/ptyrun.py" "$TMP/$name.steps" "$vmm" run -i "$TMP/initrd" -a quiet -m 128M "$@" \
        >"$TMP/$name.out" 2>"$TMP/$name.err" || rc=$?
    [ $rc = "$want" ] && return
    tail -n 40 "$TMP/$name.out" "$TMP/$name.err"
    fail "$name: status $rc instead of $want"
}

# Our kernel, as ELF with two CPUs: a shell, its size, Ctrl-c to the guest, the escape, the help, power-off.
session 0 shell -k "$HUSK_KERNEL/vmlinux" -c 2 --name it.shell <<'END'
expect cpus=2
expect guest>
send stty size\n
expect 30 90
size 133 44
send stty size\n
expect 44 133
send echo $((6*7))\n
expect 42
send sh -c 'echo re''ady; exec sleep 100'\n
expect ready
send \x03
expect guest>
send \x01h
expect Ctrl-a x ends the machine
send \x01\x01echo front\x01\x01\x01\x01\n
expect front
send poweroff -f\n
cooked
END
session 0 reboot -k "$HUSK_KERNEL/bzImage" <<'END'
expect cpus=1
expect guest>
send reboot -f\n
cooked
END
session 0 escape -k "$HUSK_KERNEL/vmlinux" <<'END'
expect guest>
send \x01
send x
cooked
END
session 143 term -k "$HUSK_KERNEL/vmlinux" <<'END'
expect guest>
kill TERM
cooked
END
session 129 hup -k "$HUSK_KERNEL/vmlinux" <<'END'
expect guest>
kill HUP
cooked
END
session 1 panic -k "$HUSK_KERNEL/vmlinux" --name it.panic <<'END'
expect guest>
send exit\n
expect vmm: it.panic: the guest's kernel panicked
cooked
END
session 0 mptable -k "$HUSK_KERNEL/bzImage" --hw mptable -c 2 <<'END'
expect cpus=2
expect guest>
send reboot -f\n
cooked
END
exit 0
