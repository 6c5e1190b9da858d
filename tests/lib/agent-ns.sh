# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For scripts that drive the agent in name spaces of this machine: a hostile busybox root in $root, and
#   check NAME REGEX TEXT, check_not NAME REGEX TEXT, drive <REQUESTS, container …, run …, script TEXT.
# They end with `finish`. Needs root and cgroup2.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${HUSK_BUILD:-$here/build/release}
case $out in /*) ;; *) out=$here/$out ;; esac
[ "$(id -u)" = 0 ] || { echo "$0: needs root"; exit 77; }
busybox=$(command -v busybox) || { echo "$0: needs busybox-static"; exit 77; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root
mkdir -p "$root/bin" "$root/etc" "$root/data"
cp "$busybox" "$root/bin/busybox"
for a in sh cat echo ls id env mount sleep true head wc stty tty touch mkdir readlink grep kill stat \
	hostname dd seq nproc umask ulimit nc od printf; do
	ln -s busybox "$root/bin/$a"
done
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' >"$root/etc/passwd"
echo text >"$root/etc/plain"
chmod 600 "$root/etc/plain"
# A hostile image: links that lead out of it.
ln -s / "$root/out"
ln -s ../../../../../../../etc "$root/up"
mkdir "$tmp/precious"
ln -s "$tmp/precious" "$root/escape"

fails=0
check() { # check NAME EXPECTED-REGEX TEXT
	if grep -qzP -- "$2" <<<"$3"; then
		echo "ok   $1"
	else
		echo "FAIL $1: wanted $2 in:"
		printf '%s\n' "$3"
		fails=$((fails + 1))
	fi
}
check_not() {
	if grep -qzP -- "$2" <<<"$3"; then
		echo "FAIL $1: has $2:"
		printf '%s\n' "$3"
		fails=$((fails + 1))
	else
		echo "ok   $1"
	fi
}
drive() { { echo "req STARTPOD {}"; cat; } | timeout 100 "$out/bin/agent_driver" "$out/bin/husk-agent" 2>&1 || true; }

ns='"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}]'
mounts='"mounts":[{"destination":"/proc","type":"proc"},
 {"destination":"/dev","type":"tmpfs","options":["nosuid","mode=755","size=64k"]},
 {"destination":"/dev/pts","type":"devpts","options":["newinstance","ptmxmode=0666","mode=0620","gid=5"]},
 {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nodev","mode=1777","size=1m"]}'
mounts=$(tr -d '\n' <<<"$mounts")
allcaps='"CAP_CHOWN","CAP_KILL","CAP_SETUID","CAP_NET_BIND_SERVICE"'

# container ARGS-JSON [PROCESS-EXTRA [SPEC-EXTRA [LINUX-EXTRA [MOUNTS-EXTRA]]]]: a request for id c1, base 1
container() {
	echo "open 1"
	echo "req NEWCONTAINER {\"id\":\"c1\",\"base\":1,\"root\":{\"path\":\"$root\"},\"spec\":{\"process\":{\"args\":$1,\"cwd\":\"/\",\"env\":[\"PATH=/bin\"]${2:+,$2}},$mounts${5:+,$5}]${3:+,$3},\"linux\":{$ns${4:+,$4}}}}"
}
run() { { container "$@"; printf 'exit 1\nout 1\nout 2\nreq REMOVECONTAINER {"container":"c1"}\n'; } | drive; }
script() { printf '["sh","-c","%s"]' "$1"; }

finish() {
	local leftover
	leftover=$(grep -c "$tmp" /proc/mounts || true)
	check "no mount is left on this machine" '^0' "$leftover"
	[ "$fails" = 0 ] || { echo "$fails failed"; exit 1; }
}
