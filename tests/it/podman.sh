#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podman with conmon: run, exec, cp, pause, stop, rm, logs, with images and with --rootfs. Each case under
# runc and under husk has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
podman_setup
"$engine_lib/busybox-image.sh" "$E/root" localhost/bb:1 "$E/bb.tar"
pm load -q -i "$E/bb.tar" >"$E/import.log" 2>&1 || fail "import: $(cat "$E/import.log")"
say 'the image is there'

pm_run() {
    pm --runtime "$r" run --network none --cgroups enabled "$@"
}

# shellcheck disable=SC2016 # expanded in the container
outputs() {
    rc pm_run --rm -e A=b -w /tmp localhost/bb:1 sh -c 'exec 2>&1; echo $A $PWD; echo err >&2; exit 3'
    rc pm_run --rm localhost/bb:1 /nonexistent 2>&1 | sed 's/.*\(no such file or directory\).*/\1/'
    rc pm_run --rm localhost/bb:1 /etc 2>&1 | sed 's/.*\(permission denied\).*/\1/'
    head -c 300000 /dev/urandom >"$E/data.$r"
    pm_run --rm -i --rootfs "$E/root" cat <"$E/data.$r" >"$E/back.$r"
    cmp "$E/back.$r" "$E/data.$r" && echo equal
}
life() {
    rc pm_run -d --name "$c" localhost/bb:1 sh -c 'trap "echo bye; exit 4" TERM; echo up; while :; do sleep 0.2; done' | tail -n 1
    rc pm --runtime "$r" exec "$c" sh -c 'echo in; exec 2>&1; echo err >&2; exit 5'
    echo data | rc pm --runtime "$r" exec -i -u 12 -w /tmp "$c" sh -c 'cat; id -u; pwd'
    rc pm --runtime "$r" exec "$c" /nonexistent 2>&1 | sed 's/.*\(no such file or directory\).*/\1/'
    echo hello >"$E/hello.$r"
    rc pm cp "$E/hello.$r" "$c:/tmp/hello"
    rc pm --runtime "$r" exec "$c" sh -c 'cat /tmp/hello; echo back >/tmp/back'
    rc pm cp "$c:/tmp/back" "$E/back.$r"
    cat "$E/back.$r"
    rc pm --runtime "$r" pause "$c" | tail -n 1
    pm ps -a --filter "name=^$c\$" --format '{{.Status}}' | cut -d' ' -f1
    rc pm --runtime "$r" unpause "$c" | tail -n 1
    rc pm --runtime "$r" stop "$c" | tail -n 1
    pm inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$c"
    rc pm logs "$c"
    rc pm --runtime "$r" rm "$c" | tail -n 1
}

for case in outputs life; do
    same $case
done
podman_end
engine_clean
engine_end
