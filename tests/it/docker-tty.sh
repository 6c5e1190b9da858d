#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker on real terminals: run -it, exec -it, attach and detach, sizes, signals of the keyboard. Each
# case under runc and under husk has to show the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'

tty() { # tty STEPS ARG...: docker ARG... on a terminal of its own
    on_tty "$1" /usr/bin/docker -H "unix://$E/docker.sock" "${@:2}"
}

# This docker sets a terminal's size after the start: under any runtime it is waited for.
# shellcheck disable=SC2016 # expanded in the container
session() {
    tty 'expect # 
send until [ "$(stty size)" = "30 90" ]; do sleep 0.1; done; tty; echo $TERM\n
expect pts/0\s+xterm
size 100 40
send until [ "$(stty size)" = "40 100" ]; do sleep 0.1; done; echo siz""ed\n
expect sized
expect # 
send sh -c "echo go""ing; exec sleep 1000"\n
expect going\s
send \x03
expect # 
send stty -a | grep -o "onlcr\\|-echo "\n
expect onlcr\s+
expect # 
send exit 7\n
cooked' run --runtime "$r" --network none --rm -it bb:1 sh
}
# Detached by the keys, the program goes on; attached again, it goes on from there. Its own end of input ends it.
# shellcheck disable=SC2016
detached() {
    dk_run -dit --name "$c" bb:1 sh
    tty 'send echo at$((1))\n
expect at1\s
expect # 
send \x10\x11
cooked' attach "$c"
    dk inspect -f '{{.State.Status}}' "$c"
    tty 'send echo at$((2))\n
expect at2\s
expect # 
send \x01d
cooked' attach --detach-keys ctrl-a,d "$c"
    tty 'send echo at$((3))\n
expect at3\s
expect # 
send \x04
cooked' attach "$c"
    dk inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$c"
    dk logs "$c" | tr -d '\r' | grep -c '^at[123]$'
    dk rm "$c"
}
# shellcheck disable=SC2016
execs() {
    dk_run -d --init --name "$c" bb:1 sleep 10000
    tty 'expect # 
send until stty size 2>/dev/null | grep -q "30 90"; do sleep 0.1; done; stty size; test -t 0 && test -t 1 && test -t 2 && echo is a tt""y\n
expect 30 90\s+is a tty
expect # 
send sh -c "trap \\"stty size\\" WINCH; echo rea""dy; while :; do sleep 0.1; done"\n
expect ready
size 88 44
expect 44 88
send \x03
expect # 
send echo re""ady; cat\n
expect ready\s
send line\n
expect line\s+line
send \x04
expect # 
send exit 9\n
cooked' exec -it "$c" sh
    dk rm -f "$c"
}

for case in session detached execs; do
    same $case
done
dockerd_stop
engine_clean
engine_end
