#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2016
# Commands that meet each other: creates of one id, deletes of one id, both mixed, start and state in between;
# ids of every kind; surroundings that go away (the bundle, /dev/kvm, a writable /run). One sentence each, and
# nothing left. No guest has to come up for it.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
[ "$(id -u)" = 0 ] && [ -w /dev/kvm ] || {
    echo 'needs root and /dev/kvm'
    exit 77
}
create() { # create ID [OPTION...]
    h create --bundle "$b" "${@:2}" "$1" </dev/null
}
left() { # processes, state, mounts, cgroups of ours
    pgrep -f -- "--root $root"
    find "$root" -mindepth 1 2>/dev/null
    grep -F "$TMP" /proc/self/mounts
    find /sys/fs/cgroup -type d -name 'race-*'
}
nothing() { # nothing WHAT: by itself, or in a moment
    local i
    for ((i = 0; i < 100; i++)); do
        left >"$TMP/left"
        [ -s "$TMP/left" ] || return 0
        moment
    done
    fail "$1: left: $(cat "$TMP/left")"
}
sentence() { # sentence WHAT REGEX FILE: one line that says it
    grep -qE -- "$2" "$3" && [ "$(wc -l <"$3")" = 1 ] || fail "$1: said: $(cat "$3")"
}
bash "$here/lib/bundle.sh" "$b" sh -c : || exit 1
jq '.linux.cgroupsPath = "/race-c1"' "$b/config.json" >"$TMP/plain.json" && cp "$TMP/plain.json" "$b/config.json"

# Eight creates of one id: one makes it, the others say that it is there.
for ((round = 0; round < 5; round++)); do
    pids=() made=0
    for ((i = 0; i < 8; i++)); do
        create c1 >"$TMP/out.$i" 2>"$TMP/err.$i" &
        pids[i]=$!
    done
    for ((i = 0; i < 8; i++)); do
        if wait "${pids[i]}"; then
            made=$((made + 1))
        else
            sentence "eight creates" 'already exists|has processes in it already' "$TMP/err.$i"
        fi
    done
    [ $made = 1 ] || fail "eight creates made $made: $(cat "$TMP"/err.*)"
    [ "$(status c1)" = created ] || fail 'eight creates: not created'
    # Eight deletes of it: each is content, whoever did it.
    for ((i = 0; i < 8; i++)); do
        h delete --force c1 >"$TMP/out.$i" 2>"$TMP/err.$i" &
        pids[i]=$!
    done
    for ((i = 0; i < 8; i++)); do
        wait "${pids[i]}" && [ ! -s "$TMP/err.$i" ] || fail "eight deletes: $(cat "$TMP/err.$i")"
    done
    nothing 'eight deletes'
done

# All verbs at once, again and again, on two ids that share a cgroup's parent, which stays with whoever made it.
# What each says is a sentence of what it found; whatever happened, one delete --force clears it.
mapfile -t hierarchies < <(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts)
mkdir "${hierarchies[@]/%//race-p}"
jq '.linux.cgroupsPath = "/race-p/c1"' "$TMP/plain.json" >"$b/config.json"
sed 's/race-p.c1/race-p\/c2/' "$b/config.json" >"$TMP/c2.json"
mkdir -p "$TMP/b2" && jq --arg r "$b/rootfs" '.root.path = $r' "$TMP/c2.json" >"$TMP/b2/config.json"
mix() { # mix N: the commands of one of those who quarrel
    local i k id
    for ((i = 0; i < 12; i++)); do
        id=c$(((i + $1) % 2 + 1))
        k=$(((i * 5 + $1 * 3) % 7))
        case $k in
        0 | 1) h create --bundle "$([ $id = c1 ] && echo "$b" || echo "$TMP/b2")" $id </dev/null ;;
        2) h delete $id ;;
        3) h delete --force $id ;;
        4) h state $id >"$TMP/state.$1" ;;
        5) h kill $id KILL ;;
        6) h list >"$TMP/list.$1" ;;
        esac 2>"$TMP/mix.$1.$i"
    done
}
for ((i = 0; i < 6; i++)); do
    mix $i &
    pids[i]=$!
done
for ((i = 0; i < 6; i++)); do
    wait "${pids[i]}"
done
cat "$TMP"/mix.*.* | grep -vE "^husk: .*(already exists|does not exist|not running|has processes in it already|is still being created|cannot delete|was deleted while it was made|ended before the container was made)" \
    >"$TMP/odd"
[ ! -s "$TMP/odd" ] || fail "quarrels: $(sort "$TMP/odd" | uniq -c)"
for i in "$TMP"/mix.*.*; do
    [ "$(wc -l <"$i")" -le 1 ] || fail "more than a sentence: $(cat "$i")"
done
h delete --force c1 && h delete --force c2 || fail 'delete --force after quarrels'
rmdir "${hierarchies[@]/%//race-p}" || fail 'quarrels: a cgroup is left'
nothing 'quarrels'
cp "$TMP/plain.json" "$b/config.json"

# Ids.
long=$(printf 'i%.0s' {1..255})
for id in "$long" a+b_c.d-e 0 _ +; do
    jq 'del(.linux.cgroupsPath)' "$TMP/plain.json" >"$b/config.json"
    create "$id" 2>"$TMP/err" >"$TMP/out" || fail "id '${id::20}': $(cat "$TMP/err")"
    [ "$(h state "$id" | jq -r .id)" = "$id" ] || fail "id '${id::20}': state"
    h delete "$id" || fail "id '${id::20}': delete"
done
for id in "${long}i" '' . .. .a a/b ../state/c1 'a b' $'a\nb' ä 'a*' '$(id)' '%s%n' "a'b" '{id}'; do
    create "$id" >"$TMP/out" 2>"$TMP/err" && fail "id '$id' was taken"
    tr '\n' ' ' <"$TMP/err" >"$TMP/err.line"
    grep -q '^husk: ' "$TMP/err.line" && ! grep -qi 'usage' "$TMP/err.line" || fail "id '$id': $(cat "$TMP/err")"
    for verb in state start delete 'delete --force' kill ps pause 'exec'; do
        # shellcheck disable=SC2086 # words
        h $verb "$id" x >"$TMP/out" 2>"$TMP/err" && fail "$verb '$id' succeeds"
    done
done
create -- -x >"$TMP/out" 2>"$TMP/err" && h delete --force -- -x
cp "$TMP/plain.json" "$b/config.json"
nothing ids

# The bundle is taken away as soon as the container is made: what is needed of it has been copied.
mkdir "$TMP/b3" && jq --arg r "$b/rootfs" '.root.path = $r' "$TMP/plain.json" >"$TMP/b3/config.json"
h create --bundle "$TMP/b3" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "create: $(cat "$TMP/err")"
rm -r "$TMP/b3"
[ "$(status c1)" = created ] || fail 'state without a bundle'
h delete c1 || fail 'delete without a bundle'
nothing 'no bundle'

# No KVM, one that is none, and nobody's right to it.
unshare -m bash -c 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"' - \
    "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'created without /dev/kvm'
sentence 'no /dev/kvm' '/dev/kvm does not exist' "$TMP/err"
unshare -m bash -c 'mount --bind /dev/null /dev/kvm && exec "$@"' - \
    "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'created with a null /dev/kvm'
sentence 'a null /dev/kvm' '/dev/kvm' "$TMP/err"
nothing 'no KVM'

# A /run that cannot be written, and one without room after the container was made.
mkdir "$TMP/run"
unshare -m bash -c 'mount -t tmpfs -o ro none "$0" && exec "$@"' "$TMP/run" \
    "$husk" --root "$TMP/run/husk" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'created on a read-only /run'
sentence 'a read-only /run' "'$TMP/run/husk': Read-only file system" "$TMP/err"
nothing 'a read-only /run'

# No room in the state directory after create: the state is told right all the same.
mount -t tmpfs -o size=64k tmpfs "$root" || exit 1
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "create: $(cat "$TMP/err")"
head -c 100000 /dev/zero >"$root/full" 2>"$TMP/err"
h kill c1 TERM || fail 'no room: kill'
tail --pid="$(cat "$TMP/pid")" -f /dev/null
[ "$(jq -r '"\(.status) \(.exitStatus)"' "$root/c1/state.json")" = 'stopped 143' ] || fail "no room: $(cat "$root/c1/state.json")"
h delete c1 || fail 'no room: delete'
[ "$(ls -A "$root")" = full ] || fail "no room: left: $(ls -AR "$root")"
umount "$root"
nothing 'no room'

# Commands to a container whose sandbox process stands still: their sentence, and delete --force, do not wait for it.
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "create: $(cat "$TMP/err")"
kill -STOP "$(cat "$TMP/pid")"
timeout 20 "$husk" --root "$root" state c1 >"$TMP/out" 2>&1 || fail "state of one that stands still: $(cat "$TMP/out")"
timeout 20 "$husk" --root "$root" list >"$TMP/out" 2>&1 || fail "list with one that stands still: $(cat "$TMP/out")"
timeout 20 "$husk" --root "$root" delete --force c1 >"$TMP/out" 2>&1 || fail "delete of one that stands still: $(cat "$TMP/out")"
nothing 'one that stands still'

# kill -9 of the sandbox process while the CLI is at each of its steps: hooks stop it there.
for hook in prestart createRuntime createContainer; do
    jq --arg d "$TMP" '.hooks.'$hook' = [{"path": "/bin/sh", "args": ["sh", "-c",
        "jq -r .pid >\($d)/hook.pid; kill -9 $(cat \($d)/hook.pid)"]}]' "$TMP/plain.json" >"$b/config.json"
    create c1 >"$TMP/out" 2>"$TMP/err" && fail "killed in $hook: created"
    sentence "killed in $hook" 'died while it was made|sandbox process' "$TMP/err"
    nothing "killed in $hook"
done
# The CLI killed in a hook: the sandbox process goes by itself.
for hook in prestart createRuntime createContainer; do
    jq --arg d "$TMP" '.hooks.'$hook' = [{"path": "/bin/sh", "args": ["sh", "-c",
        "cat >\($d)/hook.state; kill -9 $(cat \($d)/cli.pid)"]}]' "$TMP/plain.json" >"$b/config.json"
    bash -c 'echo $$ >"$1/cli.pid"; exec "${@:2}"' - "$TMP" "$husk" --root "$root" create --bundle "$b" c1 \
        </dev/null >"$TMP/out" 2>"$TMP/err"
    for ((i = 0; i < 100; i++)); do
        pgrep -f -- "--root $root" >"$TMP/left" || break
        moment
    done
    h delete --force c1 || fail "CLI killed in $hook: delete --force"
    nothing "CLI killed in $hook"
done
# And killed at any moment, with the cgroup directly below the hierarchy's root, where a sandbox process that has
# given its rights up cannot remove it.
cp "$TMP/plain.json" "$b/config.json"
for ms in 5 10 20 30 40 60 80 120 160; do
    timeout -s KILL "0.$(printf %03d $ms)" "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1
    h delete --force c1 || fail "CLI killed after $ms ms: delete --force"
    nothing "CLI killed after $ms ms"
done
[ $bad = 0 ]
