#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker: the life of containers. Each case is done under runc and under husk and has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'

# shellcheck disable=SC2016 # expanded in the container
outputs() {
    rc dk_run --rm -e A=b -w /tmp -h name bb:1 \
        sh -c 'echo $A $PWD $(hostname) $$; cat /proc/1/comm; echo err >&2; exit 3' 2>"$E/err.$r"
    cat "$E/err.$r"
    head -c 300000 /dev/urandom >"$E/data.$r"
    dk_run --rm -i bb:1 cat <"$E/data.$r" >"$E/back.$r"
    cmp "$E/back.$r" "$E/data.$r" && echo equal
}
refusals() {
    rc dk_run --rm bb:1 /nonexistent
    rc dk_run --rm bb:1 /etc
    rc dk_run --rm bb:1 nonexistent
    rc dk_run --rm --cap-add NOSUCH bb:1 true
}
life() {
    dk_run -d --name "$c" bb:1 sh -c 'trap "echo usr" USR1; trap "echo bye; exit 4" TERM; echo up
        while :; do sleep 0.2; done'
    dk_watch 1 up logs -f "$c"
    rc dk kill -s USR1 "$c"
    rc dk stop "$c"
    rc dk logs "$c"
    dk inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$c"
    rc dk start "$c"
    rc dk kill "$c"
    rc dk wait "$c"
    rc dk stop "$c"
    rc dk start "$c"
    rc dk rm "$c"
    rc dk rm -f "$c"
    rc dk inspect "$c"
}
ends() { # 137 and 143
    dk_run -d --init --name "$c" bb:1 sleep 1000
    rc dk stop "$c"
    rc dk wait "$c"
    dk rm "$c"
    # shellcheck disable=SC2016
    rc dk_run --rm --init bb:1 sh -c 'kill -9 $$'
}

same outputs
same refusals 'runc begins its messages with its own name' 's/RT create failed: unable to start container process: //'
for case in life ends; do
    same $case
done
dockerd_stop
engine_clean
engine_end
