#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker: what its options do inside of a container. Each case under runc and under husk has to print
# the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'

# shellcheck disable=SC2016 # expanded in the container
rights() {
    rc dk_run --rm --user 12:34 --group-add 56 --cap-drop ALL --cap-add CHOWN --ulimit nofile=100:200 \
        --ulimit core=0 --oom-score-adj 77 --security-opt no-new-privileges bb:1 sh -c 'exec 2>&1
        id; grep -E "^(Cap|NoNew|Seccomp:|Groups)" /proc/self/status; ulimit -n; ulimit -Hn; ulimit -c
        cat /proc/self/oom_score_adj; touch /x'
    rc dk_run --rm bb:1 sh -c 'exec 2>&1; id; grep -E "^(Cap|NoNew|Seccomp:)" /proc/self/status; umask; env | sort
        ls -l /dev | cut -c1-10,57-; ls -A /; cat /proc/1/cgroup
        unshare -m true; mount -t tmpfs x /tmp; reboot -f; date -s 00:00; dmesg >/dev/null; echo $?'
}
# shellcheck disable=SC2016
mounts() {
    mkdir -p "$E/vol.$r/sub"
    echo from the host >"$E/vol.$r/file"
    rc dk_run --rm --read-only --tmpfs /scratch:size=1m,mode=700 --shm-size 3m -v "$E/vol.$r:/vol" \
        -v "$E/vol.$r/file:/one:ro" -v "$c:/named" bb:1 sh -c 'exec 2>&1
        touch /x; echo ok >/scratch/a && cat /scratch/a; df -k /scratch /dev/shm | tail -n 2 | tr -s " " | cut -d" " -f2
        dd if=/dev/zero of=/scratch/b bs=1k count=2000 2>/dev/null || echo full
        cat /vol/file /one; echo x >/one; echo back >/vol/sub/new; ln -s new /vol/sub/link; echo n >/named/n
        for d in / /scratch /dev/shm /vol /one /proc /sys /dev /dev/pts /dev/mqueue /sys/fs/cgroup; do
            grep -E " $d " /proc/mounts | cut -d" " -f2,4 | sed "s/,.*//"; done
        cat /etc/hostname | wc -c; grep -c localhost /etc/hosts; echo >/proc/sys/kernel/hostname
        ls -ld /scratch | cut -c1-10; cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 9 | wc -c
        ls -A /sys/firmware | wc -l; echo x >/proc/sys/vm/swappiness'
    cat "$E/vol.$r/sub/link"
    cat "$E/docker/volumes/$c/_data/n"
    dk volume rm "$c"
}
# shellcheck disable=SC2016
limits() {
    rc dk_run --rm --pids-limit 20 --memory 64m --cpus 0.5 --cpu-shares 512 bb:1 sh -c 'exec 2>&1
        cd /sys/fs/cgroup; cat pids.max memory.max cpu.max cpu.weight; cat /proc/self/cgroup
        for i in $(seq 1 40); do sleep 5 & done 2>&1 | grep -c "an.t fork"'
    rc dk_run --name "$c" --memory 32m --memory-swap 32m bb:1 sh -c 'exec 2>&1
        head -c 64m /dev/zero | tail >/dev/null; echo tail $?'
    dk inspect -f '{{.State.OOMKilled}}' "$c"
    dk rm "$c"
    rc dk_run --rm --sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=12345678 --sysctl fs.mqueue.msg_max=33 \
        --hostname there --domainname here bb:1 sh -c 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax \
        /proc/sys/fs/mqueue/msg_max /proc/sys/kernel/domainname; hostname'
    rc dk_run --rm --sysctl kernel.nosuchthing=1 bb:1 true 2>&1 | grep -o 'nosuchthing' | head -n 1
}
# shellcheck disable=SC2016
seccomp() {
    echo '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95},
        {"names":["chroot"],"action":"SCMP_ACT_KILL_PROCESS"}]}' >"$E/seccomp.$r.json"
    rc dk_run --rm --security-opt seccomp="$E/seccomp.$r.json" bb:1 sh -c 'exec 2>&1
        mkdir /x; chroot / true; echo $?; grep Seccomp: /proc/self/status'
}
# shellcheck disable=SC2016
devices() {
    rc dk_run --rm --init --device /dev/null:/dev/nothing --device-cgroup-rule 'c 1:5 r' bb:1 sh -c 'exec 2>&1
        cat /proc/1/comm; ls -l /dev/nothing | cut -c1-10; echo x >/dev/nothing && echo written; wc -c </dev/nothing
        mknod /tmp/m b 8 0; cat /tmp/m; mknod /tmp/z c 1 5 && head -c 3 /tmp/z | wc -c
        echo x >/tmp/z; head -c 4 /dev/urandom | wc -c'
}
privileged() {
    rc dk_run --rm --privileged bb:1 sh -c 'exec 2>&1; grep -E "^(Cap|Seccomp:)" /proc/self/status; mount -t tmpfs x /mnt 2>&1
        mkdir /m && mount -t tmpfs x /m && echo mounted; touch /proc/sys/kernel/x 2>&1 | grep -o "Read-only"'
}

for case in rights mounts seccomp devices privileged; do
    same $case
done
same limits 'engines see the host alone, where nothing was killed' '/^(true|false)$/d'
dockerd_stop
engine_clean
engine_end
