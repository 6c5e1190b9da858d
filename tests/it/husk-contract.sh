#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What callers of a runtime rely on, command by command beside runc: exit statuses, the words that engines
# look for in errors, on stderr and in the log, the pid file, the fields of state and list.
# shellcheck disable=SC2016
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
one() { # one NAME VERB...: its status in $rc
    local name=$1 prog=runc
    shift
    [ "$name" = runc ] || prog=$husk
    : >"$TMP/$name.log"
    timeout 120 "$prog" --root "$TMP/$name" --log "$TMP/$name.log" --log-format json "$@" \
        >"$TMP/$name.out" 2>"$TMP/$name.err" </dev/null
    rc=$?
}
both() { # both PHRASE VERB...: the same status, and what husk says of an error has PHRASE; '' = none is expected
    local phrase=$1 want
    shift
    one runc "$@"
    want=$rc
    one husk "$@"
    [ $rc = $want ] || fail "$*: status $rc, and $want of runc: $(cat "$TMP/husk.err") / $(cat "$TMP/runc.err")"
    [ -n "$phrase" ] || return 0
    grep -q -- "$phrase" "$TMP/husk.err" || fail "$*: no '$phrase' in: $(cat "$TMP/husk.err")"
    jq -es 'last | .level == "error" and (.msg | length) > 0 and (.time | test("^20[0-9-]+T[0-9:.]+Z$"))' "$TMP/husk.log" >/dev/null || fail "$*: the log: $(cat "$TMP/husk.log")"
}
make() { # make ID: created under both
    local name
    for name in runc husk; do
        jq --arg c "/$name-it/$1" '.linux.cgroupsPath = $c' "$TMP/base.json" >"$b/config.json"
        # Not captured: what is created keeps these descriptors.
        timeout 120 "$([ $name = husk ] && echo "$husk" || echo runc)" --root "$TMP/$name" create --bundle "$b" \
            --pid-file "$TMP/$name.pid" "$1" </dev/null >"$TMP/made" 2>&1 || fail "create $1 under $name: $(cat "$TMP/made")"
    done
}
fields() { # fields FILTER: of what both have printed
    [ "$(jq -c "$1" "$TMP/husk.out")" = "$(jq -c "$1" "$TMP/runc.out")" ] ||
        fail "$1: $(jq -c "$1" "$TMP/husk.out"), and $(jq -c "$1" "$TMP/runc.out") of runc"
}
until_both() { # until_both ID STATUS
    local name
    for name in runc husk; do
        for ((i = 0; i < 600; i++)); do
            one $name state "$1"
            [ "$(jq -r .status "$TMP/$name.out")" = "$2" ] && break
            moment
        done
    done
}
bash "$here/lib/bundle.sh" "$b" sleep 1000 && cp "$b/config.json" "$TMP/base.json" || exit 1

# Nobody of that name.
for verb in state start 'kill nope 9' delete ps pause resume 'update --memory 64m' 'events --stats' 'exec nope true'; do
    read -ra words <<<"$verb"
    [[ $verb == *nope* ]] || words+=(nope)
    both 'does not exist' "${words[@]}"
done
both '' delete --force nope
both '' list -q
both '' list
[ "$(cat "$TMP/husk.out")" = "$(cat "$TMP/runc.out")" ] || fail "list of nothing: $(cat "$TMP/husk.out")"
both '' list --format=json
both format list --format xml
both '' features
fields '[.ociVersionMin, .hooks, (.linux.namespaces | type), (.linux.seccomp.enabled), (.linux.cgroup.v2)]'
both '' --version
head -n 1 "$TMP/husk.out" | grep -qE '^husk version [0-9.]+$' || fail "--version: $(cat "$TMP/husk.out")"
[ "$(grep -cE "^(commit: .|spec: 1\.)" "$TMP/husk.out")" = 2 ] || fail "--version: $(cat "$TMP/husk.out")"
both '' state --help
for words in state 'state a b' 'create --nonsense x' 'create --bundle /nonexistent x' 'kill' 'delete'; do
    # shellcheck disable=SC2086 # words
    both . $words
done
one husk checkpoint --help # engines take 0 for "can"
[ $rc != 0 ] || fail 'checkpoint --help'

# Created.
make c1
[[ $(od -An -c "$TMP/husk.pid") =~ ^(\ +[0-9])+$ ]] || fail "pid file: $(od -c "$TMP/husk.pid")"
both '' state c1
fields 'keys - ["annotations"]'
fields '[.id, .status, .bundle, .rootfs, (.pid | type)]'
[ "$(jq .pid "$TMP/husk.out")" = "$(cat "$TMP/husk.pid")" ] || fail "state's pid"
both '' list --format json
fields '[.[] | [.id, .status, .bundle, .rootfs, .owner]]'
both '' list
[ "$(head -n 1 "$TMP/husk.out" | tr -s ' ')" = "$(head -n 1 "$TMP/runc.out" | tr -s ' ')" ] || fail "list: $(cat "$TMP/husk.out")"
both 'container with given ID already exists' create --bundle "$b" c1
both 'not paused' resume c1
both '' kill c1 0
both 'signal' kill c1 nonsense
both '' exec c1 true
# Running.
both '' start c1
both 'cannot start' start c1
both 'cannot delete container .* that is not stopped' delete c1
both 'executable file not found in' exec c1 nonexistent
both 'permission denied' exec c1 /etc
both 'no such file or directory' exec c1 /nonexistent
both '' exec c1 sh -c 'exit 7'
both '' exec c1 sh -c 'kill -9 $$'
both '' exec --user 1000:1000 --cwd /tmp -e A=b c1 sh -c 'id -u; pwd; echo $A'
[ "$(cat "$TMP/husk.out")" = "$(cat "$TMP/runc.out")" ] || fail "exec: $(cat "$TMP/husk.out")"
both 'cwd' exec --cwd /etc/passwd/x c1 pwd
both 'nobody' exec -u nobody c1 id
both 'console' exec -d -t c1 true
both 'format' ps --format xml c1
both '' ps --format json c1
[ "$(cat "$TMP/husk.out")" = "[$(cat "$TMP/husk.pid")]" ] || fail "ps --format json: $(cat "$TMP/husk.out")"
both '' ps c1
[ "$(head -n 1 "$TMP/husk.out" | tr -s ' ')" = "$(head -n 1 "$TMP/runc.out" | tr -s ' ')" ] || fail "ps: $(cat "$TMP/husk.out")"
both '' pause c1
both 'paused' pause c1
both '' state c1
fields .status
both 'paused' exec c1 true
both 'paused' start c1
both 'cannot delete container .* that is not stopped' delete c1
both '' resume c1
both 'not paused' resume c1
both '' update --pids-limit 50 c1
both 'No such file\|no such file' update --resources /nonexistent c1
both 'memory' update --memory abc c1
both '' kill c1 0
both '' kill c1 SIGKILL
# Stopped.
until_both c1 stopped
both '' state c1
fields '[.status, .pid]'
both 'container not running' kill c1 9
both 'container not running' kill c1 0
both '' kill --all c1 9
both 'not running' exec c1 true
both 'cannot start' start c1
both 'not running' pause c1
both '' ps c1
[ "$(wc -l <"$TMP/husk.out")" = 1 ] || fail "ps of a stopped one: $(cat "$TMP/husk.out")"
both 'not running' update --pids-limit 50 c1
both 'not running' events --stats c1
both '' delete c1
both 'does not exist' delete c1
# A created one is deleted without force, or killed; a process that is not there is told at create.
make c2
both '' delete c2
make c3
both '' kill c3 KILL
until_both c3 stopped
both 'cannot start' start c3
both '' delete --force c3
jq '.linux.cgroupsPath = "/husk-it/c4" | .process.args = ["nonexistent"]' "$TMP/base.json" >"$b/config.json"
one husk create --bundle "$b" c4
[ $rc = 127 ] || fail "create of nothing: $rc"
grep -q 'executable file not found in' "$TMP/husk.err" || fail "create of nothing: $(cat "$TMP/husk.err")"
both 'does not exist' state c4

# Options of which some change nothing here, and some are refused by name.
jq '.process.args = ["true"]' "$TMP/base.json" >"$b/config.json"
both '' run --keep --no-new-keyring --bundle "$b" kept
both '' state kept
fields '[.id, .status, .pid]'
both '' delete kept
both '' run --no-subreaper --bundle "$b" plain
both 'does not exist' state plain
refused() { # refused PHRASE VERB...: by husk alone
    local phrase=$1
    shift
    one husk "$@"
    if [ $rc = 0 ] || ! grep -q -- "$phrase" "$TMP/husk.err"; then
        fail "$*: status $rc: $(cat "$TMP/husk.err")"
    fi
}
refused '--no-pivot: not supported' run --no-pivot --bundle "$b" pivot
both 'does not exist' state pivot
mkdir "$TMP/spec"
refused 'spec --rootless: not supported: husk needs root' spec --rootless --bundle "$TMP/spec"
[ ! -e "$TMP/spec/config.json" ] || fail 'spec --rootless writes what it refuses'
refused '--rootless=true: not supported: husk needs root' --rootless true list
[ -z "$(ls -A "$TMP/husk")" ] || fail "left: $(ls -A "$TMP/husk")"
rmdir /sys/fs/cgroup/husk-it /sys/fs/cgroup/runc-it 2>/dev/null
[ $bad = 0 ]
