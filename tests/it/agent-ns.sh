#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
# The agent in name spaces of this machine: what a container sees, streams under pressure, errors and
# their words. Needs root and cgroup2; limits that this machine's cgroup2 cannot set are tried in the VM.
set -euo pipefail
# shellcheck source=tests/lib/agent-ns.sh
. "$(dirname "$0")/../lib/agent-ns.sh"

# ---- the protocol
o=$(printf 'req PING\nreq BOGUS {}\nreq PING [1]\nreq NEWCONTAINER {"id":5}\nreq WINSIZE {"seq":9,"row":1,"column":1}\n' | drive)
check "ping" 'PING ok' "$o"
check "unknown command" 'BOGUS error .*command 77: unknown' "$o"
check "not an object" 'PING error .*not an object' "$o"
check "wrong type" 'NEWCONTAINER error .*id: not a string' "$o"
check "no such terminal" 'WINSIZE error ' "$o"
o=$(printf 'req DESTROYPOD\ndead\n' | drive)
check "destroy" 'DESTROYPOD ok\ndead 0' "$o"

# ---- what a container sees
o=$(run "$(script 'echo pid $$; id -u; hostname; cat /proc/1/comm; ls /dev; readlink /dev/ptmx; exit 7')" '' '"hostname":"box"')
check "pid 1, host name, devices, status" 'exit 1 7\nout 1 pid 1\\n0\\nbox\\nsh\\ncore\\nfd\\nfull\\nnull\\nptmx\\npts\\nrandom\\nshm\\nstderr\\nstdin\\nstdout\\ntty\\nurandom\\nzero\\npts/ptmx' "$o"
check "remove" 'REMOVECONTAINER ok' "$o"
o=$(run "$(script 'id -u; id -g; id -G; umask; env; grep Cap /proc/self/status; grep NoNew /proc/self/status; ulimit -n')" \
	"\"user\":{\"uid\":1000,\"gid\":1000,\"additionalGids\":[5,6],\"umask\":63},\"noNewPrivileges\":true,\"capabilities\":{\"bounding\":[$allcaps],\"permitted\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"],\"inheritable\":[\"CAP_KILL\"],\"ambient\":[\"CAP_KILL\"]},\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":100,\"hard\":200}]")
check "user, groups, umask" 'out 1 1000\\n1000\\n1000 5 6\\n0077\\n' "$o"
check "home from passwd" 'HOME=/home/user' "$o"
check "capabilities" 'CapInh:\t0000000000000020\\nCapPrm:\t0000000000000020\\nCapEff:\t0000000000000020\\nCapBnd:\t00000000000004a1\\nCapAmb:\t0000000000000020' "$o"
check "no new privileges" 'NoNewPrivs:\t1' "$o"
check "rlimit" '\\n100\\n' "$o"
o=$(run "$(script 'touch /x; echo $?; touch /proc/sys/kernel/x; cat /proc/kcore | wc -c; ls /proc/bus; echo end; cat /proc/sys/kernel/msgmax')" '' '"root":{"readonly":true}' \
	'"maskedPaths":["/proc/kcore","/proc/bus","/nowhere"],"readonlyPaths":["/proc/sys","/nowhere"],"sysctl":{"kernel.msgmax":"4242"}')
check "read-only root, masks, sysctl" 'out 1 1\\n0\\nend\\n4242\\n' "$o"
check "read-only path" 'touch: /x: Read-only file system.*touch: /proc/sys/kernel/x' "$o"
o=$(run "$(script 'grep -c . /proc/mounts; grep /t /proc/mounts; stat -c %a /t; echo no >/dev/shm/x; ls /t/sub')" '' '' '' \
	'{"destination":"/t/sub/deep","type":"tmpfs","source":"tmpfs","options":["noexec","noatime","mode=1750","size=32k"]},{"destination":"/data","type":"bind","source":"/x","options":["rbind","ro","nosuid"]}')
check "tmpfs options" 'tmpfs /t/sub/deep tmpfs rw,noexec,noatime,size=32k,mode=1750' "$o"
o=$(run "$(script 'grep data /proc/mounts; touch /data/x; echo $?; ls -d /dev/dataset/.')" '' '' '' \
	'{"destination":"/data","type":"bind","source":"/x","options":["rbind","ro","nosuid","noexec"]}')
check "bind with options" '/data ext4? ?.*|/data [a-z0-9]+ ro,nosuid,noexec' "$o"
check "bind is read-only" '\\n1\\n' "$o"
o=$(run "$(script 'cat /proc/self/mountinfo')" '' '' '"rootfsPropagation":"shared"')
check "root propagation" 'out 1 \d+ \d+ \d+:\d+ [^ ]+ / [^ ]+ shared:' "$o"
o=$(run "$(script 'ls -l /dev/x /dev/y; stat -c %u:%g:%t:%T /dev/x')" '' '' \
	'"devices":[{"path":"/dev/x","type":"c","major":10,"minor":666,"fileMode":432,"uid":3,"gid":4},{"path":"/dev/y","type":"p"}]')
check "devices" 'crw-rw----.*/dev/x\\nprw-rw-rw-.*/dev/y\\n3:4:a:29a' "$o"
o=$(run "$(script 'readlink /proc/self/cwd; cat /proc/self/oom_score_adj; ls -ld /made/it')" '"cwd":"/made/it","oomScoreAdj":500')
check "cwd is made, oom score" 'out 1 /made/it\\n500\\ndrwxr-xr-x' "$o"
o=$(run "$(script 'ls -l /proc/self/fd | wc -l')")
check "no descriptor leaks" 'out 1 5\\n' "$o"
# struct sock_filter: load nr; if getcwd (79) return ERRNO(38) else ALLOW
bpf=$(printf '\x20\0\0\0\0\0\0\0\x15\0\0\x01\x4f\0\0\0\x06\0\0\0\x26\0\x05\0\x06\0\0\0\0\0\xff\x7f' | base64 -w0)
o=$({ container "$(script 'cd /data; /bin/busybox pwd -P; grep Seccomp: /proc/self/status')" '"cwd":"/"' '' '"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}' |
	sed "s|\"base\":1|\"base\":1,\"seccomp\":\"$bpf\"|"; printf 'exit 1\nout 1\nout 2\n'; } | drive)
check "seccomp" 'out 1 Seccomp:\t2\\n\nout 2 pwd: .*Function not implemented' "$o"

# ---- Docker's name server: a question by TCP in two pieces, its answer; one that is none; UDP
dns() { # dns COMMAND ANSWER...: a container that asks, the host's answers
	echo 'req SETUPINTERFACE {"interfaces":[],"routes":[],"neighbours":[],"dns":true}'
	container "$(script "$1")"
	shift
	for answer; do
		printf 'event\nreq DNSANSWER {"id":%s,"answer":"%s"}\n' "${answer%%:*}" "${answer#*:}"
	done
	printf 'exit 1\nout 1\n'
}
yes=$(printf '123456789012yes' | base64)
o=$(dns '(printf '\''\\000'\''; sleep 1; printf '\''\\017abcdefghijkl???'\'') | nc 127.0.0.11 53 | od -c -A n' "1:$yes" | drive)
check "a question by TCP" 'event {"event":"dns","id":1,"tcp":true,"question":"YWJjZGVmZ2hpamtsPz8/"}' "$o"
check "its answer, with its length" 'out 1 +\\0 017 +1 +2 +3 +4 .* y +e(\\n)? +s' "$o"
o=$(dns 'printf '\''\\377\\377xx'\'' | nc 127.0.0.11 53; printf '\''\\000\\002xx'\'' | nc 127.0.0.11 53; echo over' | drive)
check "too long, too short" 'out 1 over' "$o"
o=$(dns 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do printf '\''\\000\\020'\'' | nc 127.0.0.11 53 & done; printf '\''\\000\\017abcdefghijkl???'\'' | nc 127.0.0.11 53 | wc -c' "1:$yes" | drive)
check "connections that say nothing make room" 'out 1 17' "$o"

# ---- connections to its own ports
cp "$out/bin/netprobe" "$root/bin/"
o=$({ container '["netprobe","serve","4444"]' && cat <<'END'
expect 1 8
open 3
req DIAL {"base":3,"address":"127.0.0.1","port":4444}
in 3 to and fro\n
expect 3 11
eof 3
out 3
open 5
req DIAL {"base":5,"address":"::1","port":4444}
flood 5 300000
expect 5 200000
len 5
closed 5
req DIAL {"base":7,"address":"127.0.0.1","port":1}
req DIAL {"base":7,"address":"localhost","port":4444}
req DIAL {"base":7,"address":"127.0.0.1","port":65536}
req DIAL {"base":7,"address":"127.0.0.1"}
req DIAL {"base":3,"address":"127.0.0.1","port":4444}
open 9
req DIAL {"base":9,"address":"127.0.0.1","port":4444}
in 9 still\n
expect 9 6
out 9
req KILLCONTAINER {"container":"c1","signal":9}
exit 1
END
} | drive)
check "a port of its own, both ways" 'DIAL ok.*\n(.*\n)*out 3 to and fro\\n\n' "$o"
check "the other family, more than a window" 'out 3.*\nDIAL ok.*\nlen 5 [23]\d{5}\n' "$o"
check "nobody listens" 'DIAL error \{"message":"port 1: Connection refused' "$o"
check "an address that is none" 'DIAL error \{"message":"port 4444: Invalid argument' "$o"
check "a port that is none" 'DIAL error \{"message":"port: 65536 is out of range' "$o"
check "no port" 'DIAL error \{"message":"port: missing' "$o"
check "and it goes on" 'out 9 still\\n' "$o"

# ---- a hostile image
o=$(run "$(script 'ls /tmp')" '"cwd":"/escape/c"' '' '"devices":[{"path":"/escape/dev","type":"c","major":1,"minor":3}],"maskedPaths":["/up/hostname"]' \
	'{"destination":"/escape/m","type":"tmpfs"},{"destination":"/out/m2","type":"tmpfs"}')
check "links stay inside" 'exit 1 0|NEWCONTAINER error' "$o"
[ -z "$(ls -A "$tmp/precious")" ] || { echo "FAIL something was made outside of the root"; fails=$((fails + 1)); }

# ---- errors and their words
o=$(run '["nosuch"]')
check "not in PATH" '"message":"exec: \\"nosuch\\": executable file not found in \$PATH","status":127' "$o"
o=$(printf '%s\n' "$(container '["/no/such"]')" | drive)
check "no such file" 'no such file or directory","status":127' "$o"
o=$(printf '%s\n' "$(container '["/etc/plain"]')" | drive)
check "permission denied" 'exec: \\"/etc/plain\\": permission denied","status":126' "$o"
printf 'xx' >"$root/bin/broken"
chmod 755 "$root/bin/broken"
o=$(printf '%s\n' "$(container '["broken"]')" "$(container '["true"]' |  sed 's/open 1/open 11/; s/"base":1/"base":11/')" "exit 11" | drive)
check "exec format error" 'exec /bin/broken: exec format error","status":126' "$o"
check "the name is free after a failure" 'NEWCONTAINER ok[^\n]*\n(closed 11\n)?exit 11 0' "$o"
for bad in '"rlimits":[{"type":"RLIMIT_TEST","soft":1,"hard":1}]@RLIMIT_TEST' \
	'"rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]@soft limit' \
	'"oomScoreAdj":2000@out of range' '"user":{"uid":-1}@out of range' '"cwd":"x"@not an absolute' \
	'"terminal":1@neither true nor false' '"ioPriority":{"class":"X"}@ioPriority.class' \
	'"args":[]@args: empty' '"env":["A\u0000B"]@NUL'; do
	o=$(printf '%s\n' "$(container '["true"]' "${bad%@*}")" | drive)
	check "refused: ${bad%@*}" "NEWCONTAINER error .*${bad#*@}" "$o"
done
for bad in '"namespaces":[{"type":"user"}]@uidMappings: a user namespace needs them' '"namespaces":[{"type":"pid"},{"type":"pid"}]@twice' \
	'"maskedPaths":["x"]@not an absolute' '"sysctl":{"../x":"1"}@not a key' '"seccomp":{}@no program' \
	'"resources":{"memory":{"disableOOMKiller":true}}@cannot' '"resources":{"unified":{"../x.y":"1"}}@not a controller' \
	'"rootfsPropagation":"x"@unknown' '"devices":[{"path":"dev","type":"c"}]@not an absolute'; do
	o=$(printf '%s\n' "$(container '["true"]' '' '' "${bad%@*}")" | drive)
	check "refused: ${bad%@*}" "NEWCONTAINER error .*${bad#*@}" "$o"
done

# ---- exec, kill, ps
o=$({ container '["sleep","1000"]'
	cat <<END
open 3
req EXECCMD {"container":"c1","base":3,"process":{"args":["sh","-c","echo in; echo err >&2; cat /proc/1/comm; readlink /proc/self/cwd; cat; exit 3"],"cwd":"/data","env":["PATH=/bin"]}}
in 3 line\n
eof 3
exit 3
out 3
out 4
open 5
req EXECCMD {"container":"c1","base":5,"process":{"args":["nosuch"],"cwd":"/","env":["PATH=/bin"]}}
req PSCONTAINER {"container":"c1"}
req EXECCMD {"container":"c9","base":7,"process":{"args":["true"],"cwd":"/"}}
req REMOVECONTAINER {"container":"c1"}
open 9
req EXECCMD {"container":"c1","base":9,"process":{"args":["sleep","1000"],"cwd":"/","env":["PATH=/bin"]}}
req KILLCONTAINER {"container":"c1","signal":15,"base":9}
exit 9
req KILLCONTAINER {"container":"c1","signal":9}
exit 1
req KILLCONTAINER {"container":"c1","signal":9}
req REMOVECONTAINER {"container":"c1"}
req KILLCONTAINER {"container":"c1","signal":9}
END
} | drive)
check "exec" 'EXECCMD ok [^\n]*\nexit 3 3\nout 3 in\\nsleep\\n/data\\nline\\n\nout 4 err' "$o"
check "exec of nothing" 'EXECCMD error .*executable file not found in \$PATH","status":127' "$o"
check "ps" '{"processes":\[{"pid":1,"ppid":0,"uid":0,"gid":0,"state":"S","tty":"\?","start":1[0-9]{9},.*"nice":0,"threads":1,"comm":"sleep","cmdline":"sleep 1000"}' "$o"
check "exec elsewhere" "container 'c9': not found" "$o"
check "remove of a running one" "container 'c1': running" "$o"
check "kill of an exec" 'exit 9 143' "$o"
check "kill" 'exit 1 137' "$o"
check "kill of a dead one" 'KILLCONTAINER error .*container not running' "$o"
check "gone after remove" "REMOVECONTAINER ok[^\n]*\nKILLCONTAINER error .*container 'c1': not found" "$o"

# ---- a terminal
o=$({ container "$(script 'tty; stty size; read a; echo got $a; stty size; ls -l /dev/console')" '"terminal":true,"consoleSize":{"height":11,"width":22}'
	printf 'expect 1 16\nreq WINSIZE {"seq":1,"row":33,"column":44}\nin 1 hello\\n\nexit 1\nout 1\n'; } | drive)
check "terminal" 'exit 1 0\nout 1 /dev/pts/0\\n11 22\\nhello\\ngot hello\\n33 44\\nc.*/dev/console' "$o"

# ---- streams under pressure
o=$({ container "$(script 'head -c 3000000 /dev/zero; echo done >&2')"; printf 'exit 1\nlen 1\nout 2\n'; } | drive)
check "no output is lost at exit" 'exit 1 0\nlen 1 3000000\nout 2 done' "$o"
o=$({ container "$(script 'while :; do echo y; done')"
	cat <<END
hold 1
expect 1 262144
open 3
req EXECCMD {"container":"c1","base":3,"process":{"args":["cat"],"cwd":"/","env":["PATH=/bin"]}}
flood 3 1000000
eof 3
exit 3
len 3
req PING
open 5
req EXECCMD {"container":"c1","base":5,"process":{"args":["sleep","1000"],"cwd":"/","env":["PATH=/bin"]}}
flood 5 10000000
open 7
req EXECCMD {"container":"c1","base":7,"process":{"args":["echo","fine"],"cwd":"/","env":["PATH=/bin"]}}
exit 7
out 7
release 1
closed 1
req KILLCONTAINER {"container":"c1","signal":9}
exit 1
END
} | drive)
check "a stalled reader stalls itself alone" 'exit 3 0\nlen 3 1000000\nPING ok' "$o"
check "a stalled stdin stalls itself alone" 'exit 7 0\nout 7 fine' "$o"
o=$({ container "$(script 'trap \"\" PIPE; while echo y; do :; done 2>/dev/null; exit 9')"; printf 'expect 1 1\nclosed 1\nexit 1\n'; } | drive)
check "closed reaches the writer" 'exit 1 9' "$o"
o=$({ container "$(script 'sleep 1000 & echo bye')"; printf 'exit 1\nout 1\n'; } | drive)
check "exit does not wait for what holds the pipe" 'exit 1 0\nout 1 bye' "$o"
o=$({ container '["sleep","1000"]'
	cat <<END
open 3
req EXECCMD {"container":"c1","base":3,"process":{"args":["sh","-c","sleep 1000 & echo bye"],"cwd":"/","env":["PATH=/bin"]}}
exit 3
out 3
END
} | drive)
check "nor for an exec's children" 'exit 3 0\nout 3 bye' "$o"

finish
