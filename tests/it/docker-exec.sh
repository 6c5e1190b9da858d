#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker: processes added to a container. Each case under runc and under husk has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'

begin() { # the container of a case
    dk_run -d --init --name "$c" -e FROM=container "$@" bb:1 sleep 10000
}
end() {
    dk rm -f "$c"
}

# shellcheck disable=SC2016 # expanded in the container
statuses() {
    begin
    rc dk exec "$c" sh -c 'echo out; echo err >&2; exit 3' 2>"$E/err.$r"
    cat "$E/err.$r"
    rc dk exec "$c" /nonexistent
    rc dk exec "$c" /etc
    rc dk exec "$c" sh -c 'kill -9 $$'
    rc dk exec -w /nowhere/at/all "$c" pwd
    end
}
streams() {
    begin
    head -c 300000 /dev/urandom >"$E/data.$r"
    dk exec -i "$c" cat <"$E/data.$r" >"$E/back.$r"
    cmp "$E/back.$r" "$E/data.$r" && echo equal
    rc dk exec -i "$c" sh -c 'cat >/tmp/copy; echo EOF seen' <"$E/data.$r"
    rc dk exec -d "$c" sh -c 'md5sum </tmp/copy >/tmp/sum; mkfifo /tmp/f; : >/tmp/f'
    rc dk exec "$c" sh -c 'until [ -p /tmp/f ]; do sleep 0.1; done; cat /tmp/f' # waits for the other one
    dk exec "$c" cat /tmp/sum | cmp - <(md5sum <"$E/data.$r") && echo same sum
    end
}
# shellcheck disable=SC2016
identity() {
    begin --user 12:34
    rc dk exec -u 65534:7 -w /tmp -e A=b "$c" sh -c 'id -u; id -g; pwd; echo $A $FROM; grep CapEff /proc/self/status'
    rc dk exec "$c" sh -c 'id -u; grep CapEff /proc/self/status; cat /proc/1/comm'
    rc dk exec --privileged -u 0 "$c" grep -E 'CapBnd|NoNewPrivs' /proc/self/status
    end
}
# All at once, each with a status and a line of its own; then what ends with the container.
many() {
    local i pids=()
    begin
    for i in 1 2 3 4 5 6; do
        dk exec "$c" sh -c "echo I am $i; exit $i" >"$E/many.$r.$i" 2>&1 &
        pids+=($!)
    done
    for i in 1 2 3 4 5 6; do
        rc wait "${pids[i - 1]}"
        cat "$E/many.$r.$i"
    done
    mkfifo "$E/up.$r"
    dk exec "$c" sh -c 'echo up; exec sleep 1000' >"$E/up.$r" &
    read -r i <"$E/up.$r"
    echo "$i"
    rc dk kill "$c"
    rc wait $!
    rc dk exec "$c" true
    dk rm "$c"
}

same statuses 'runc names itself, and writes the words of an error small' \
    's/unable to start container process: //; s/: No such file/: no such file/'
for case in identity streams many; do
    same $case
done
dockerd_stop
engine_clean
engine_end
