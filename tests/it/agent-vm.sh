#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
# The agent in a real guest: ports, a root over 9p in a slot that was empty at boot, limits, the device
# filter, limits that change, figures, running out of memory, who owns what a plain user makes, the slot used again after REMOVECONTAINER, power-off.
set -euo pipefail
build=${HUSK_BUILD:?} kernel=${HUSK_KERNEL:?}/vmlinux tmp=${TMP:?}
export AGENT_DRIVER_TIMEOUT=120

root=$tmp/root
mkdir -p "$root/bin" "$root/made"
chmod 777 "$root/made"
cp "$(command -v busybox)" "$root/bin/busybox"
for a in sh cat id head mknod sleep hostname nproc tail; do ln -s busybox "$root/bin/$a"; done
cat >"$tmp/vm" <<END
#!/bin/sh
exec "$build/bin/agent_vm" "$kernel" "$build/rootfs.erofs" "$root" "\$@"
END
chmod +x "$tmp/vm"

dev='"root":{"device":"d0001000.virtio_mmio","tag":"husk.root"}'
caps='["CAP_MKNOD"]'
cat >"$tmp/script" <<END
req PING
req STARTPOD {"hostname":"pod","entropy":"AAAAAAAAAAAAAAAAAAAAAA=="}
open 1
req NEWCONTAINER {"id":"c1","base":1,$dev,"spec":{"process":{"args":["sh","-c","id; hostname; cd /sys/fs/cgroup; cat memory.max cpu.max cpu.weight pids.max memory.high; echo x >/made/file; mknod /tmp/d b 259 0; head -c1 /tmp/d; head -c 1000000 /dev/zero >&2; exit 5"],"cwd":"/made","env":["PATH=/bin"],"user":{"uid":1000,"gid":1001,"additionalGids":[5]},"capabilities":{"bounding":$caps,"permitted":$caps,"effective":$caps,"inheritable":$caps,"ambient":$caps}},"hostname":"box","mounts":[{"destination":"/tmp","type":"tmpfs"},{"destination":"/dev","type":"tmpfs"},{"destination":"/sys","type":"sysfs"},{"destination":"/sys/fs/cgroup","type":"cgroup","options":["ro"]}],"linux":{"namespaces":[{"type":"pid"},{"type":"uts"},{"type":"cgroup"}],"resources":{"memory":{"limit":67108864,"swap":67108864},"cpu":{"quota":50000,"period":100000,"shares":512},"pids":{"limit":100},"devices":[{"allow":false,"access":"rwm"}],"unified":{"memory.high":"59998208"}}}}}
exit 1
out 1
len 2
req REMOVECONTAINER {"container":"c1"}
open 3
req NEWCONTAINER {"id":"c1","base":3,$dev,"spec":{"process":{"args":["sleep","1000"],"cwd":"/","env":["PATH=/bin"]},"linux":{"namespaces":[{"type":"pid"}]}}}
open 5
req EXECCMD {"container":"c1","base":5,"process":{"args":["cat"],"cwd":"/","env":["PATH=/bin"]}}
in 5 hello
eof 5
exit 5
out 5
req UPDATECONTAINER {"container":"c1","resources":{"pids":{"limit":50},"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":90000,"burst":60000}}}
req UPDATECONTAINER {"container":"c1","resources":{"cpu":{"quota":50000,"burst":40000},"devices":[{"allow":false}]}}
req UPDATECONTAINER {"container":"c1","resources":{"pids":{"limit":40},"unified":{"memory.high":"many"}}}
req UPDATECONTAINER {"container":"c1","resources":{"pids":{"limit":40},"memory":{"limit":4096,"checkBeforeUpdate":true}}}
req UPDATECONTAINER {"container":"c1","resources":{"pids":{"limit":"40"}}}
req STATSCONTAINER {"container":"c1"}
req PAUSECONTAINER {"container":"c1","timeout_ms":20000}
req RESUMECONTAINER {"container":"c1"}
req PAUSECONTAINER {"container":"c1","timeout_ms":0}
open 7
req EXECCMD {"container":"c1","base":7,"process":{"args":["sh","-c","head -c 200000000 /dev/zero | tail; exit 9"],"cwd":"/","env":["PATH=/bin"]}}
exit 7
req PING
req PAUSECONTAINER {"container":"c1"}
req KILLCONTAINER {"container":"c1","signal":9}
exit 3
req STATSCONTAINER {"container":"c1"}
req DESTROYPOD
dead
END
o=$(timeout 300 "$build/bin/agent_driver" "$tmp/vm" <"$tmp/script" 2>&1) || true
printf '%s\n' "$o"
bad=0
want() {
	grep -qzP -- "$1" <<<"$o" || { echo "FAIL: no $1"; bad=1; }
}
want 'PING ok\nSTARTPOD ok\nNEWCONTAINER ok'
want 'exit 1 5\nout 1 uid=1000 gid=1001 groups=5\\nbox\\n67108864\\n50000 100000\\n20\\n100\\n59998208\\n\nlen 2 10000\d\d\n'
want 'REMOVECONTAINER ok[^\n]*\nNEWCONTAINER ok'
want 'exit 5 0\nout 5 hello'
want 'out 5 hello\nUPDATECONTAINER ok[^\n]*\nUPDATECONTAINER ok[^\n]*\nUPDATECONTAINER error .*memory.high.*\nUPDATECONTAINER error .*memory.limit: 4096 is below.*\nUPDATECONTAINER error .*limit: not an integer'
want 'STATSCONTAINER ok .*"cpu":{"usage_usec":[1-9].*"memory":{"current":[1-9].*"max":33554432.*"swap_max":0.*"oom_kill":0.*"pids":{"current":1,"max":50}.*"network":\[{"name":"lo"'
want 'PAUSECONTAINER ok[^\n]*\nRESUMECONTAINER ok\nPAUSECONTAINER error .*timeout_ms'
want 'event {"event":"oom","container":"c1","oom_kill":[1-9]'
want 'PING ok\nPAUSECONTAINER ok[^\n]*\nKILLCONTAINER ok\n(closed 3\n)?exit 3 137\nSTATSCONTAINER error .*not running'
want 'DESTROYPOD ok\n(.*\n)*dead 0'
[ "$(stat -c %u:%g "$root/made/file")" = 1000:1001 ] || { echo "FAIL: owner of the file"; bad=1; }
exit $bad
