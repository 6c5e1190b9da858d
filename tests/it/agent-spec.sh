#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
# The agent in name spaces of this machine: user and time name spaces, hooks of the container, affinity.
set -euo pipefail
# shellcheck source=tests/lib/agent-ns.sh
. "$(dirname "$0")/../lib/agent-ns.sh"

# ---- user name spaces: the image belongs to 100000, as an engine that maps ids makes it
user='"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"},{"type":"user"}]'
ids='"uidMappings":[{"containerID":0,"hostID":100000,"size":1000},{"containerID":1000,"hostID":200000,"size":1}],"gidMappings":[{"containerID":0,"hostID":100000,"size":65536}]'
caps='"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_ADMIN"],"permitted":["CAP_CHOWN","CAP_SYS_ADMIN"],"effective":["CAP_CHOWN","CAP_SYS_ADMIN"]}'
chown -hR 100000:100000 "$root"
user() { sed "s/$(printf '%s' "$ns" | sed 's/[][\/.*]/\\&/g')/$user,$ids/"; }
urun() { # urun ARGS-JSON [PROCESS-EXTRA [SPEC-EXTRA [LINUX-EXTRA [MOUNTS-EXTRA]]]]
	{ container "$@" | user
	  printf 'exit 1\nout 1\nout 2\nreq REMOVECONTAINER {"container":"c1"}\n'; } | drive
}
o=$(urun "$(script 'id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /data/new; stat -c %u:%g /data/new /dev /dev/shm /dev/null; grep Cap[PB] /proc/self/status; hostname in; hostname')" "$caps" '"hostname":"box"')
check "user name space: root and its map" 'out 1 0\\n +0 +100000 +1000\\n +1000 +200000 +1\\n +0 +100000 +65536\\n0:0\\n0:0\\n0:0\\n0:0\\n' "$o"
check "its capabilities" 'CapPrm:\t0000000000200001\\nCapBnd:\t0000000000200001' "$o"
check "its names are its own" '\\nin\\n' "$o"
[ "$(stat -c %u:%g "$root/data/new")" = 100000:100000 ] || { echo "FAIL owner outside: $(stat -c %u:%g "$root/data/new")"; fails=$((fails + 1)); }
o=$(urun "$(script 'id -u; id -g; touch /t/x; stat -c %u:%g /t /t/x; echo $HOME')" '"user":{"uid":1000,"gid":7}' '' '' \
	'{"destination":"/t","type":"tmpfs","options":["mode=0755","uid=1000","gid=7"]}')
check "a mapped user, owners in options" 'out 1 1000\\n7\\n1000:7\\n1000:7\\n/home/user' "$o"
o=$(urun "$(script 'umount /dev/shm && mount -t tmpfs x /data && grep -c /data /proc/mounts')" "$caps")
check "its mounts are its own" 'out 1 1\\n' "$o"
o=$(container '["true"]' '"user":{"uid":5000}' | user | drive)
check "a user that is not mapped" 'NEWCONTAINER error .*setting user 5000: Invalid argument' "$o"
o=$({ container '["sleep","1000"]' | user
	cat <<END
open 3
req EXECCMD {"container":"c1","base":3,"process":{"args":["sh","-c","id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user >/data/a; readlink /proc/1/ns/user >/data/b; cat /data/a | grep -cFf /data/b"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0},$caps}}
exit 3
out 3
out 4
END
} | drive)
check "exec joins it" 'exit 3 0\nout 3 0\\n +0 +100000 +1000\\n +1000 +200000 +1\\n1\\n' "$o"
o=$({ container "$(script 'tty; ls -ln /dev/console')" '"terminal":true' | user
	printf 'exit 1\nout 1\n'; } | drive)
check "a terminal in it" 'out 1 /dev/pts/0\\n.* 0 +5 +136' "$o"
chown -hR 0:0 "$root"
for bad in '"uidMappings":[{"containerID":0,"hostID":1,"size":1}]@there is no user namespace' \
	'"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":1,"size":0}]@its size is 0' \
	'"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":4294967295,"size":2}]@beyond the last id' \
	'"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":1,"size":2},{"containerID":1,"hostID":9,"size":1}],"gidMappings":[{"containerID":0,"hostID":1,"size":1}]@the kernel refuses them' \
	'"timeOffsets":{"boottime":{"secs":1}}@no time namespace'; do
	o=$(printf '%s\n' "$(container '["true"]' '' '' "${bad%@*}")" | drive)
	check "refused: ${bad%@*}" "NEWCONTAINER error .*${bad#*@}" "$o"
done

# ---- time name spaces
withtime() { sed 's/"type":"cgroup"}\]/"type":"cgroup"},{"type":"time"}]/'; }
o=$({ container "$(script 'cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime')" '' '' '"timeOffsets":{"monotonic":{"secs":5000,"nanosecs":7},"boottime":{"secs":900000000}}' | withtime
	printf 'exit 1\nout 1\nout 2\n'; } | drive)
check "time name space" 'out 1 monotonic +5000 +7\\nboottime +900000000 +0\\n9000\d\d\d\d\d\\n' "$o"
o=$({ container '["true"]' | withtime; printf 'exit 1\n'; } | drive)
check "one without offsets" 'exit 1 0' "$o"

# ---- affinity of processes that come later: the container's for all, or their own
o=$({ container "$(script 'grep Cpus_allowed_list /proc/self/status; sleep 1000')" '"execCPUAffinity":{"initial":"0","final":"1"}'
	cat <<END
expect 1 10
open 3
req EXECCMD {"container":"c1","base":3,"process":{"args":["grep","Cpus_allowed_list","/proc/self/status"],"cwd":"/","env":["PATH=/bin"]}}
exit 3
out 3
open 5
req EXECCMD {"container":"c1","base":5,"process":{"args":["grep","Cpus_allowed_list","/proc/self/status"],"cwd":"/","env":["PATH=/bin"],"execCPUAffinity":{"initial":"0"}}}
exit 5
out 5
open 7
req EXECCMD {"container":"c1","base":7,"process":{"args":["true"],"cwd":"/","env":["PATH=/bin"],"execCPUAffinity":{"final":"999"}}}
out 1
END
} | drive)
check "affinity of the container's" 'out 3 Cpus_allowed_list:\t1\\n' "$o"
check "affinity of its own" 'out 5 Cpus_allowed_list:\t0\\n' "$o"
check "none for the first process" 'out 1 Cpus_allowed_list:\t0-' "$o"
check "processors that are not there" 'EXECCMD error .*execCPUAffinity: Invalid argument' "$o"

# ---- hooks.startContainer
cat >"$root/bin/hook" <<'END'
#!/bin/sh
cat >>/data/state
echo "$0 $1 $X $PATH $(id -u) $(grep CapEff /proc/self/status) $(grep Seccomp: /proc/self/status)" >>/data/hooks
END
chmod 755 "$root/bin/hook"
o=$(run "$(script 'cat /data/hooks; cat /data/state; id -u')" "\"user\":{\"uid\":1000},\"capabilities\":{\"bounding\":[\"CAP_CHOWN\"]}" \
	'"ociVersion":"1.1.0","annotations":{"a":"b"},"hooks":{"startContainer":[{"path":"/bin/hook","args":["hook","one"],"env":["X=1","PATH=/bin"]},{"path":"/bin/hook"}]}' |
	sed 's/\\"/"/g')
check "hooks run in order, as root, in their environment" \
	'out 1 /bin/hook one 1 /bin 0 CapEff:\t0000000000000001 Seccomp:\t0\\n/bin/hook   /bin 0 ' "$o"
check "they read the state" '{"ociVersion":"1.1.0","id":"c1","status":"created","pid":1,"bundle":"","annotations":{"a":"b"}}' "$o"
check "and the process is itself" '1000\\n' "$o"
o=$(container '["true"]' '' '"hooks":{"startContainer":[{"path":"/bin/sh","args":["sh","-c","echo broken; exit 5"]}]}' | drive)
check "a failing hook" 'NEWCONTAINER error .*startContainer: hook /bin/sh: exit status 5: broken' "$o"
o=$(container '["true"]' '' '"hooks":{"startContainer":[{"path":"/bin/sleep","args":["sleep","100"],"timeout":1}]}' | drive)
check "a slow hook" 'NEWCONTAINER error .*hook /bin/sleep: took longer than its timeout' "$o"
for bad in '[{"path":"x"}]@is not absolute' '[{}]@is not absolute' '[5]@not an object' '{}@not an array' \
	'[{"path":"/x","timeout":0}]@out of range'; do
	o=$(container '["true"]' '' "\"hooks\":{\"startContainer\":${bad%@*}}" | drive)
	check "refused hook: ${bad%@*}" "NEWCONTAINER error .*${bad#*@}" "$o"
done
finish
