#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
# One config.json under crun and under husk: what a probe in the container sees is the same, but for what
# is explained here. Then what crun has no word for: the vm section, id mappings over 9p, time, hooks.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
h() {
    timeout 120 "$husk" --root "$TMP/state" --log "$TMP/log" "$@" </dev/null
}
# has NAME REGEX: the last run's output has a line like it.
has() {
    grep -qP -- "$2" "$TMP/out" || fail "$1: no '$2' in: $(cat "$TMP/out" "$TMP/err")"
}
bash "$here/lib/bundle.sh" "$b" sh /probe && cp "$b/config.json" "$b/base.json" || exit 1
printf 'one:x:1000:7:one:/home/one:/bin/sh\n' >>"$b/rootfs/etc/passwd"
mkdir -p "$TMP/vol/deep" "$b/rootfs/masked"
touch "$TMP/vol/file" "$b/rootfs/masked/file"
cat >"$b/rootfs/probe" <<'END'
id -u; id -g; id -G; umask; pwd; tty
grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups|CoreDumping)' /proc/self/status
cat /proc/self/limits
echo "oom $(cat /proc/self/oom_score_adj)"
echo "host $(hostname) $(cat /proc/sys/kernel/domainname) $(uname -m)"
env | grep -v '^SHLVL' | sort
echo "process 1 is $(tr '\0' ' ' </proc/1/cmdline)"
echo "descriptors $(ls /proc/self/fd | tr '\n' ' ')"
for d in $(ls /dev); do echo "/dev/$d $(stat -c '%A %t:%T %u:%g' /dev/$d) $(readlink /dev/$d)"; done
# Destination, flags, type and the file system's options, but of what is the host's.
while read -r _ _ _ _ to flags rest; do
    set -- ${rest#*- }
    case $to=$1 in
    /=* | /vol=* | /file=*) echo "mount $to ${flags%%,*}" ;;
    *) echo "mount $to $flags $1 $3" ;;
    esac
done </proc/self/mountinfo
for f in /x /proc/sys/kernel/x /vol/x /vol/deep/x /t/x /file; do
    if (echo >>$f) 2>/dev/null; then echo "$f can be written"; else echo "$f cannot be written"; fi
done
echo "masked: $(ls /masked | wc -l) $(cat /proc/kcore 2>/dev/null | wc -c) $(cat /masked/file 2>&1)"
cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward
cat /proc/self/cgroup
(cd / && mkdir /t/new 2>&1)
true
END
full='.process.user = {"uid": 1000, "gid": 7, "additionalGids": [5, 6], "umask": 23}
| .process.cwd = "/made/here" | .process.env += ["B=2"] | .process.noNewPrivileges = true | .process.oomScoreAdj = 321
| .process.capabilities = {"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"], "permitted": ["CAP_KILL"],
   "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
| .process.rlimits = [["AS", 1000000000], ["CORE", 5], ["CPU", 500], ["DATA", 900000000], ["FSIZE", 70000000], ["LOCKS", 8],
   ["MEMLOCK", 90000], ["MSGQUEUE", 800000], ["NICE", 10], ["NOFILE", 1234], ["NPROC", 999], ["RSS", 600000000],
   ["RTPRIO", 4], ["RTTIME", 5000000], ["SIGPENDING", 77], ["STACK", 8000000]]
| .process.rlimits |= map({"type": ("RLIMIT_" + .[0]), "soft": .[1], "hard": (.[1] + 1)})
| .hostname = "probe" | .domainname = "example.org" | .linux.personality = {"domain": "LINUX32"} | .root.readonly = true
| .linux.sysctl = {"kernel.msgmax": "4321", "net.ipv4.ip_forward": "1"} | .linux.rootfsPropagation = "private"
| .linux.maskedPaths += ["/masked", "/nowhere", "/proc/kcore"]
| .linux.seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
   {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}, {"names": ["not_a_call"], "action": "SCMP_ACT_KILL"}]}
| .linux.devices = [{"type": "c", "path": "/dev/nothing", "major": 10, "minor": 666, "fileMode": 416, "uid": 3, "gid": 4},
   {"type": "p", "path": "/dev/fifo", "fileMode": 384}]
| .mounts += [{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "strictatime", "size=128k", "mode=1750", "uid=1000"]},
   {"destination": "/vol", "type": "bind", "source": $vol, "options": ["rbind", "ro", "nosuid", "nodev"]},
   {"destination": "/file", "type": "bind", "source": ($vol + "/file"), "options": ["bind", "ro"]}]'
spec() {
    jq --arg vol "$TMP/vol" "$1" "$b/base.json" >"$b/config.json" || fail "filter: $1"
}
mkdir -p "$b/rootfs"/{made/here,t,vol,nowhere2} && touch "$b/rootfs/file"
spec "$full"
: >"$TMP/empty" # crun gives what is its stdin to the container's user, and /dev/null must not be
timeout 60 crun --cgroup-manager=cgroupfs --root "$TMP/crun" run --bundle "$b" peer >"$TMP/crun.out" 2>"$TMP/err" <"$TMP/empty" ||
    fail "crun: $(cat "$TMP/err")"
h run --bundle "$b" one >"$TMP/out" 2>"$TMP/err" || fail "husk: $(cat "$TMP/err")"
# Explained: the guest's file systems have options of their own kernel; covers of masked paths have stricter flags
# here; the order of mounts that cover nothing of each other is free; the guest's procfs has no acpi and no kcore.
norm() {
    grep -v '^mount ' "$1"
    sed -nE -e 's/ inode64|,inode64|,nsdelegate|,memory_recursiveprot|,?nr_inodes=[0-9]+//g' \
        -e 's@^(mount (/proc/|/sys/firmware|/masked)[^ ]*) .*@\1@' -e '/^mount .proc.(acpi|kcore)/d' -e '/^mount /p' "$1" | sort
}
if ! diff <(norm "$TMP/crun.out") <(norm "$TMP/out") >"$TMP/diff"; then
    fail "crun (<) and husk (>) differ: $(cat "$TMP/diff")"
fi
[ "$(wc -l <"$TMP/out")" -ge 60 ] || fail "the probe saw little: $(cat "$TMP/out")"

# Scheduling, a missing directory to begin in, unknown capabilities, AppArmor of an engine.
jq --arg kernel "$HUSK_KERNEL/vmlinux" '.process.args = ["sh", "-c", "pwd; ls -ld /new/cwd; ionice; grep CapEff /proc/self/status; cut -d\" \" -f19,41 /proc/self/stat; nproc; cat /proc/cmdline; head -n 1 /proc/meminfo"] | .process.cwd = "/new/cwd"
| .process.ioPriority = {"class": "IOPRIO_CLASS_IDLE", "priority": 0} | .process.scheduler = {"policy": "SCHED_BATCH", "nice": 5}
| .process.apparmorProfile = "docker-default"
| .process.capabilities = {"bounding": ["CAP_KILL", "CAP_NEXT"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
| .vm = {"kernel": {"path": $kernel, "parameters": ["husk_test=1"]}, "hwConfig": {"vcpus": 2, "memory": 201326592}}' \
    "$b/base.json" >"$b/config.json"
h run --bundle "$b" two >"$TMP/out" 2>"$TMP/err" || fail "two: $(cat "$TMP/err")"
has 'cwd is made' '^/new/cwd$'
has 'cwd, mode' '^drwxr-xr-x'
has 'ioPriority' '^idle'
has 'scheduler: nice and policy' '^5 3$'
has 'known capabilities' '^CapEff:\t0000000000000020$'
has 'vcpus of the vm section' '^2$'
has 'kernel parameters of the vm section' ' husk_test=1( |$)'
has 'memory of the vm section' '^MemTotal: +1[5-9]\d{4} kB'

# A user name space over 9p: files are the host's numbers on both sides; the clock; hooks of all kinds.
cp -a "$b/rootfs" "$TMP/mapped" && chown -hR 100000:100000 "$TMP/mapped" && mkdir "$TMP/own" && chown 101000 "$TMP/own"
cat >"$TMP/mapped/bin/inner" <<'END'
#!/bin/sh
echo "startContainer $1 $(id -u) $(tr -d ' \n' | grep -o '"status":"[a-z]*"')" >>/own/hooks
END
cat >"$TMP/hook" <<'END'
#!/bin/sh
echo "$1 $(tr -d ' \n' | grep -o '"status":"[a-z]*"')" >>"$2"
END
chmod 755 "$TMP/hook" "$TMP/mapped/bin/inner" && chmod 777 "$TMP/own"
: >"$TMP/own/hooks" && chmod 666 "$TMP/own/hooks"
one() { printf '[{"path": "%s", "args": ["hook", "%s", "%s"]}]' "$TMP/hook" "$1" "$TMP/own/hooks"; }
cat >"$TMP/mapped/probe" <<'END'
id -u; cat /proc/self/uid_map
stat -c '%u:%g %n' / /etc/passwd /own /dev/shm /tmp
echo new >/own/file && mkdir /own/dir && ln -s x /own/link && chown 5:6 /own/dir && stat -c '%u:%g %n' /own/file /own/dir /own/link
(chown 70000 /own/file) 2>&1
hostname inside && hostname
umount /dev/shm && mount -t tmpfs x /tmp && grep -c ' /tmp tmpfs' /proc/mounts
cut -d. -f1 /proc/uptime
cat /own/hooks
END
jq --arg root "$TMP/mapped" --arg own "$TMP/own" '.root.path = $root | .process.capabilities |= map_values(["CAP_SYS_ADMIN", "CAP_CHOWN"])
| .linux.namespaces += [{"type": "user"}, {"type": "time"}] | .linux.timeOffsets = {"boottime": {"secs": 500000000}}
| .linux.uidMappings = [{"containerID": 0, "hostID": 100000, "size": 65536}] | .linux.gidMappings = .linux.uidMappings
| .mounts += [{"destination": "/own", "type": "bind", "source": $own, "options": ["bind"]}]
| .hooks = {"prestart": '"$(one prestart)"', "createRuntime": '"$(one createRuntime)"', "createContainer": '"$(one createContainer)"',
   "startContainer": [{"path": "/bin/inner", "args": ["inner", "yes"]}], "poststart": '"$(one poststart)"', "poststop": [{"path": "/bin/false"}, '"$(one poststop | tail -c +2)"'}' \
    "$b/base.json" >"$b/config.json"
h run --bundle "$b" three >"$TMP/out" 2>"$TMP/err" || fail "three: $(cat "$TMP/err")"
has 'root in its name space' '^0$'
has 'its map' '^ +0 +100000 +65536$'
for f in / /etc/passwd /dev/shm /own/file /own/link; do has "owner of $f" "^0:0 $f\$"; done
has 'an owner of its own' '^1000:0 /own$|^1000:65534 /own$'
has 'a given owner' '^5:6 /own/dir$'
has 'an id outside of the map' 'chown: .*Invalid argument'
has 'its host name' '^inside$'
has 'its mounts' '^1$'
has 'its clock' '^5000\d{5}$'
[ "$(stat -c %u:%g "$TMP/own/file" "$TMP/own/dir" "$TMP/own/link" | tr '\n' ' ')" = '100000:100000 100005:100006 100000:100000 ' ] ||
    fail "owners on the host: $(stat -c '%u:%g %n' "$TMP/own"/*)"
sed 's/"//g' "$TMP/own/hooks" >"$TMP/out"
want='prestart status:creating|createRuntime status:creating|createContainer status:creating|startContainer yes 0 status:created|'
got=$(tr '\n' '|' <"$TMP/out")
case $got in
"$want"*) ;;
*) fail "hooks: $got" ;;
esac
has 'poststart' '^poststart status:running$'
has 'poststop runs after a failing one' '^poststop status:stopped$'
jq '.hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no good; exit 3"]}]}' "$b/base.json" >"$b/config.json"
h run --bundle "$b" four >"$TMP/out" 2>"$TMP/err" && fail 'a failing startContainer hook'
grep -q 'startContainer: hook /bin/sh: exit status 3: no good' "$TMP/err" || fail "a failing startContainer hook: $(cat "$TMP/err")"
jq --arg hook "$TMP/hook" '.hooks = {"poststart": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]} | .process.args = ["sleep", "1000"]' \
    "$b/base.json" >"$b/config.json"
h run --bundle "$b" five >"$TMP/out" 2>"$TMP/err" && fail 'a slow poststart hook'
grep -q 'poststart: hook /bin/sleep: took longer than its timeout' "$TMP/err" || fail "a slow poststart hook: $(cat "$TMP/err")"
[ -z "$(ls -A "$TMP/state")" ] || fail "left: $(ls -A "$TMP/state")"
[ $bad = 0 ]
