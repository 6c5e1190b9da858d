#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# containerd's own client, with io.containerd.runc.v2 and --runc-binary: run, exec, kill, pause, delete, a
# terminal, an image and a root by path. Each case under runc and under husk has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
containerd_start
"$engine_lib/busybox-image.sh" "$E/root" docker.io/library/bb:1 "$E/bb.tar"
ct images import "$E/bb.tar" >"$E/import.log" || fail "import: $(cat "$E/import.log")"
say 'containerd is up'

binary() {
    [ "$r" = runc ] && echo /usr/sbin/runc || echo "$husk"
}
ct_run() { # ct_run OPTION... ROOT-OR-IMAGE ID ARG...
    ct run --runtime io.containerd.runc.v2 --runc-binary "$(binary)" --runc-root "$E/runtime-root" --env PATH=/bin "$@"
}

# shellcheck disable=SC2016 # expanded in the container
images() {
    rc ct_run --rm --env A=b --cwd /tmp docker.io/library/bb:1 "$c" sh -c 'exec 2>&1; echo $A $PWD; echo err >&2; exit 3'
    rc ct_run --rm docker.io/library/bb:1 "$c" /nonexistent 2>&1 | sed 's/.*\(no such file or directory\).*/\1/'
    ct containers rm "$c" 2>"$E/rm.$r"
    # This client forgets the end of input when it comes before the process does: nothing waits for it here.
    echo data | rc ct_run --rm --rootfs "$E/root" "$c" sh -c 'read x; echo $x; hostname; id'
}
stopped() {
    ct task ls | grep -q "$c .*STOPPED"
}
life() {
    rc ct_run -d --rootfs "$E/root" "$c" sh -c 'trap "exit 4" TERM; while :; do sleep 0.2; done'
    ct task ls | grep "$c" | sed -E 's/ +[0-9]+ +/ PID /'
    rc ct task exec --exec-id e1 "$c" sh -c 'echo in; exec 2>&1; echo err >&2; exit 5'
    rc ct task exec --exec-id e2 --cwd /tmp --user 12:34 "$c" sh -c 'pwd; id -u'
    seq 1 3000 >"$E/lines"
    ct task exec --exec-id e3 "$c" head -n 3000 <"$E/lines" >"$E/back.$r"
    cmp "$E/back.$r" "$E/lines" && echo equal
    rc ct task pause "$c"
    ct task ls | grep "$c" | sed -E 's/ +[0-9]+ +/ PID /'
    rc ct task resume "$c"
    rc ct task kill -s TERM "$c"
    until_ok stopped
    rc ct task delete "$c"
    rc ct containers rm "$c"
    rc ct_run -d --rootfs "$E/root" "$c" sleep 1000
    rc ct task kill -s KILL "$c"
    until_ok stopped
    rc ct task delete "$c"
    rc ct containers rm "$c"
}
# shellcheck disable=SC2016
terminal() {
    printf '%s\n' 'expect # ' \
        'send until [ "$(stty size)" = "30 90" ]; do sleep 0.1; done; tty\n' 'expect /dev/pts/0' 'expect # ' 'send exit 6\n' \
        cooked >"$E/steps.$r"
    "$engine_lib/ptyrun.py" "$E/steps.$r" ctr -a "$E/containerd.sock" run --rm -t --runtime io.containerd.runc.v2 \
        --runc-binary "$(binary)" --runc-root "$E/runtime-root" --env PATH=/bin --rootfs "$E/root" "$c" sh >"$E/tty.$r"
    echo "status $?"
}

for case in images life terminal; do
    same $case
done
containerd_stop
engine_clean
engine_end
