#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `husk check` where everything is as it should be, and where one thing is not; `husk env`.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
assets=$TMP/assets
mkdir "$assets" && cp "$HUSK_KERNEL/vmlinux" "$HUSK_BUILD/rootfs.erofs" "$assets" || exit 1

"$husk" --assets "$assets" check --json >"$TMP/json" || fail "check --json: status $?"
jq -e '.can_run and .kvm.can_run and .verdict == "this host can run husk"
    and ([.runtime[] | select(.level == "bad")] == [])
    and ([.runtime[].name] | contains(["KVM", "cgroup", "configuration", "guest kernel", "modules"]))
    and (.runtime[] | select(.name == "modules") | .value | contains("tun"))' "$TMP/json" >"$TMP/jq" ||
    fail "$(jq -c '.verdict, .runtime' "$TMP/json")"

# What is wrong is all named, and the verdict has the first. (Without KVM it takes no time.)
# found NAME TEXT: the item is bad for this reason.
found() {
    jq -e --arg name "$1" --arg text "$2" '.can_run == false
        and (.runtime[] | select(.name == $name) | .level == "bad" and (.note | contains($text)))' \
        "$TMP/json" >"$TMP/jq" || fail "$1: $(jq -c '.verdict, .runtime' "$TMP/json")"
}
no_kvm() {
    # shellcheck disable=SC2016 # for the other shell
    unshare -m bash -c 'mount --bind /dev/null /dev/kvm && exec "$@"' - "$@" >"$TMP/json" 2>"$TMP/err" &&
        fail "$*: says yes"
}
no_kvm "$husk" --assets "$TMP" check --json
found KVM 'not'
found 'guest files' "guest kernel '$TMP/vmlinux': No such file"
echo nothing >"$assets/rootfs.erofs"
echo '{"nonsense": 1}' >"$TMP/husk.conf"
no_kvm "$husk" --assets "$assets" --config "$TMP/husk.conf" check --json
found 'guest files' 'not a file of a file system'
found configuration "unknown key 'nonsense'"
cp "$HUSK_BUILD/rootfs.erofs" "$assets"
no_kvm setpriv --reuid 65534 --clear-groups --inh-caps=-all "$husk" --assets "$assets" check --json
found user 'by root only'
no_kvm "$husk" --assets "$assets" check
tail -n 1 "$TMP/json" | grep -q '^this host cannot run husk: KVM: ' || fail "$(tail -n 1 "$TMP/json")"

echo '{"memory": {"default": "333M"}}' >"$TMP/husk.conf"
"$husk" --assets "$assets" --config "$TMP/husk.conf" env --json >"$TMP/json" || fail "env: $?"
jq -e --arg sum "$(sha256sum <"$assets/vmlinux" | cut -d ' ' -f 1)" --arg kernel "$(uname -r)" '
    .config.memory.default == "333M" and .config.memory.min == "128M"
    and .guest.kernel.sha256 == $sum and (.guest.kernel.version | startswith("6."))
    and .host.kernel == $kernel and .host.cgroup.version == 2 and .kvm.works
    and (.host.fingerprint | length) == 16' "$TMP/json" >"$TMP/jq" || fail "$(cat "$TMP/json")"
"$husk" --config "$TMP/husk.conf" env >"$TMP/text" || fail "env as text: $?"
grep -qx 'config.memory.default = "333M"' "$TMP/text" || fail "env as text: $(cat "$TMP/text")"

# What engines read of the version.
"$husk" --version >"$TMP/text"
for line in 'husk version [0-9].*' 'commit: .*' 'spec: 1\.[0-9.]*'; do
    grep -qx "$line" "$TMP/text" || fail "--version: $(cat "$TMP/text")"
done
[ $bad = 0 ]
