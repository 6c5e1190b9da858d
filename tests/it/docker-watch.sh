#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker: what it tells of containers and does with them by itself: health checks, events, stats, top, restarts and
# their policies, attach by a pipe. Each case under runc and under husk has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'

# shellcheck disable=SC2016
watches() {
    dk_run -d --init --name "$c" --health-cmd 'test -e /healthy' --health-interval 1s --health-retries 2 \
        bb:1 sleep 10000
    dk_watch 1 'health_status: unhealthy' events --since 0 --filter container="$c"
    dk exec "$c" touch /healthy
    dk_watch 1 'health_status: healthy' events --since 0 --filter container="$c"
    dk stats --no-stream --format '{{.Name}} {{.PIDs}} {{.MemUsage}} {{.CPUPerc}}' "$c" |
        sed -E 's/ [1-9][0-9]* [0-9.]*[1-9][0-9.]*[KMG]iB .*%$/ has figures/'
    dk top "$c" | sed -E '1!d; s/ +/ /g'
    rc dk stop "$c"
    # A second is not told to its end: what comes in the present one is asked for by the next. Docker tells of the stop
    # and of the death in no order.
    dk_watch 1 'container die.*exitCode=143' events --since 0 --filter container="$c"
    dk_watch 1 'container stop' events --since 0 --filter container="$c"
    dk events --since 0 --until $(($(date +%s) + 1)) --filter container="$c" --format '{{.Action}} {{.Actor.Attributes.exitCode}}' |
        grep -v '^exec_\|^top\|^stop'
    dk rm "$c"
}

# A policy's starts and one's own; the streams of a container that was started detached, from a pipe.
# shellcheck disable=SC2016
restarts() {
    # shellcheck disable=SC2317 # until_ok calls it
    ended() {
        [ "$(dk inspect -f '{{.State.Status}} {{.State.Restarting}}' "$c")" = 'exited false' ]
    }
    dk_run -d --name "$c" --restart on-failure:2 bb:1 sh -c 'echo run; exit 3'
    dk_watch 3 'container die.*exitCode=3' events --since 0 --filter container="$c" --filter event=die
    until_ok ended
    dk inspect -f '{{.RestartCount}} {{.State.ExitCode}}' "$c"
    dk logs "$c"
    dk rm "$c"
    dk_run -d --name "$c" -i bb:1 sh -c 'trap "exit 0" TERM; echo up
        while read x; do echo "got $x"; [ "$x" != end ] || exit 6; done; while :; do sleep 0.2; done'
    dk_watch 1 up logs -f "$c"
    rc dk restart "$c"
    dk_watch 2 up logs -f "$c"
    # The daemon closes an attached output together with its input when the container was started detached, whatever
    # still comes: so the input has its end after the container.
    { printf 'one\ntwo\nend\n' && until_ok ended >&2; } | rc dk attach "$c"
    rc dk start "$c"
    dk_watch 3 up logs -f "$c"
    rc dk stop "$c"
    dk inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}' "$c"
    dk logs "$c"
    dk rm "$c"
}

for case in watches restarts; do
    same $case
done
dockerd_stop
engine_clean
engine_end
