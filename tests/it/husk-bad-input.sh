#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bad input: one clear sentence, a status that is not 0, nothing left behind.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
# refused STATUS TEXT ARG...: the command fails with the status and one line that contains the text, in
# stderr and in the log.
refused() {
    local want=$1 text=$2 rc
    shift 2
    rm -f "$TMP/log"
    timeout 60 "$husk" --root "$root" --log "$TMP/log" --log-format json "$@" >"$TMP/out" 2>"$TMP/err" \
        </dev/null
    rc=$?
    [ $rc = "$want" ] || fail "$*: status $rc, not $want"
    [ "$(wc -l <"$TMP/err")" = 1 ] || fail "$*: not one line: $(cat "$TMP/err")"
    grep -qF -- "$text" "$TMP/err" || fail "$*: '$text' is not in: $(cat "$TMP/err")"
    jq -se --arg t "$text" 'last | .level == "error" and (.msg | contains($t))' "$TMP/log" >"$TMP/jq" ||
        fail "$*: log: $(cat "$TMP/log")"
    [ -z "$(ls -A "$root" 2>"$TMP/ls")" ] || fail "$*: left: $(ls -AR "$root")"
}
# spec FILTER: the bundle's config.json with a jq filter applied.
spec() {
    jq "$1" "$b/base.json" >"$b/config.json"
}
bash "$here/lib/bundle.sh" "$b" true && cp "$b/config.json" "$b/base.json" || exit 1

refused 1 'does not exist' state nobody
refused 1 'does not exist' start nobody
refused 1 'does not exist' kill nobody TERM
refused 1 'does not exist' delete nobody
refused 1 'invalid container ID' create --bundle "$b" a/b
refused 1 'invalid container ID' create --bundle "$b" ..
refused 1 'needs the ID' create --bundle "$b"
refused 1 'unexpected argument' create --bundle "$b" a b
refused 1 "unknown option '--nonsense'" create --nonsense a
refused 1 'unknown command' frobnicate
refused 1 'not supported yet' checkpoint a
refused 255 'does not exist' exec a sh
refused 1 "bundle '$TMP/nothing': No such file" create --bundle "$TMP/nothing" a
rm "$b/config.json"
refused 1 'config.json: No such file' run --bundle "$b" a
printf '{"ociVersion": "1.0.2",\n' >"$b/config.json"
refused 1 'config.json: not JSON' run --bundle "$b" a
printf '[]' >"$b/config.json"
refused 1 'config.json: expected an object' run --bundle "$b" a
spec '.process.args = "sh"'
refused 1 'config.json: process.args: expected an array of strings' run --bundle "$b" a
spec '.process.user.uid = "root"'
refused 1 'config.json: process.user.uid: expected a number' run --bundle "$b" a
spec '.mounts[1].options = {}'
refused 1 'config.json: mounts[1].options: expected an array of strings' run --bundle "$b" a
spec 'del(.root)'
refused 1 'config.json: root: missing' run --bundle "$b" a
spec '.ociVersion = "2.0.0"'
refused 1 'ociVersion' run --bundle "$b" a
spec '.linux.namespaces |= map(select(.type != "network"))'
refused 1 'host network is not supported' run --bundle "$b" a
spec '.linux.namespaces |= map(if .type == "network" then .path = "/etc/passwd" else . end)'
refused 1 "network namespace '/etc/passwd'" run --bundle "$b" a
spec '.root.path = "nowhere"'
refused 1 "rootfs '$b/nowhere': No such file" run --bundle "$b" a
spec '.root.path = "config.json"'
refused 1 'not a directory' run --bundle "$b" a
spec '.process.args = ["nowhere"]'
missing="exec: \"nowhere\": executable file not found in \$PATH"
refused 127 "$missing" run --bundle "$b" a
refused 127 "$missing" create --bundle "$b" a
spec '.process.args = ["/bin/nowhere"]'
refused 127 'exec: "/bin/nowhere": stat /bin/nowhere: no such file or directory' run --bundle "$b" a
spec '.process.args = ["/etc/passwd"]'
refused 126 'exec: "/etc/passwd": permission denied' run --bundle "$b" a
spec '.mounts += [{"destination": "/mnt", "type": "bind", "source": "/nowhere", "options": ["rbind"]}]'
refused 1 "source '/nowhere': No such file" run --bundle "$b" a
spec '.linux.seccomp = {"defaultAction": "SCMP_ACT_NOTHING"}'
refused 1 "action 'SCMP_ACT_NOTHING' is unknown" run --bundle "$b" a
spec '.linux.cgroupsPath = "system.slice:husk:a"'
refused 1 'linux.cgroupsPath' run --bundle "$b" a
spec '.hooks = {"prestart": [{"path": "/bin/false"}]} | .linux.cgroupsPath = "/husk-it/bad"'
refused 1 'prestart: hook /bin/false: exit status 1' run --bundle "$b" a
[ ! -e /sys/fs/cgroup/husk-it ] || fail 'a cgroup is left'
spec '.hooks = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo nope >&2; exit 3"]}]}'
refused 1 'exit status 3: nope' run --bundle "$b" a
spec .
refused 1 'does not exist' --systemd-cgroup state a
refused 1 'systemd is not the init' --systemd-cgroup run --bundle "$b" a
refused 1 'guest kernel' --assets "$TMP" run --bundle "$b" a
echo 'no kernel at all, but long enough to be looked at' >"$TMP/vmlinux"
cp "$HUSK_BUILD/rootfs.erofs" "$TMP/"
refused 1 "kernel '$TMP/vmlinux'" --assets "$TMP" run --bundle "$b" a

# No KVM, and one that is none.
unshare -m bash -c 'mount -t tmpfs tmpfs /dev && exec "$@"' - \
    "$husk" --root "$root" run --bundle "$b" a >"$TMP/out" 2>"$TMP/err" </dev/null && fail 'without /dev/kvm'
grep -q '^husk: /dev/kvm does not exist' "$TMP/err" || fail "without /dev/kvm: $(cat "$TMP/err")"
unshare -m bash -c 'mount --bind /dev/zero /dev/kvm && exec "$@"' - \
    "$husk" --root "$root" run --bundle "$b" a >"$TMP/out" 2>"$TMP/err" </dev/null && fail 'with /dev/zero'
grep -q '^husk: /dev/kvm' "$TMP/err" || fail "with /dev/zero as /dev/kvm: $(cat "$TMP/err")"
[ -z "$(ls -A "$root")" ] || fail "left: $(ls -AR "$root")"

# Help goes to stdout and succeeds; misuse does not.
"$husk" --help >"$TMP/out" 2>"$TMP/err" || fail '--help'
[ -s "$TMP/out" ] || fail '--help says nothing'
[ ! -s "$TMP/err" ] || fail '--help writes to stderr'
[ "$(wc -l <"$TMP/out")" -le 40 ] || fail '--help: more than a screen'
"$husk" >"$TMP/out" 2>"$TMP/err" && fail 'no command'
"$husk" checkpoint --help >"$TMP/out" 2>"$TMP/err" && fail 'checkpoint --help says that it works'
[ $bad = 0 ]
