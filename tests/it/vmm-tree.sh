#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# not in check: a kernel's sources are 79000 files, which takes an hour or two in a lab.
# shellcheck disable=SC2016 # what is in single quotes is the guest's
# A kernel's source tree over 9p: the guest copies, hashes, renames and removes it, and each time the host has the same.
# TAR is an archive of the sources (Debian's linux-source), PART a directory in it (all of it), JOBS how many work at
# once (4) on CPUS (2), CACHE the mount's policy (mmap).
# The lab wants 8 GiB.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
# shellcheck source=tests/lib/guesttools.sh
. "$here/../lib/guesttools.sh"
cd "$TMP" || exit 1
export ASK_TIMEOUT=${ASK_TIMEOUT:-7000}
jobs=${JOBS:-4}

tar=${TAR:-$(printf '%s\n' /usr/src/linux-source-*.tar.xz | tail -n 1)}
[ -e "$tar" ] || { echo "SKIP: no linux-source here"; exit 0; }
step=$SECONDS
say() {
    printf '%5d s  %s\n' $((SECONDS - step)) "$*"
    step=$SECONDS
}
mkdir tools work work/tree
guest_tools tools cpio find xargs sha256sum rm sort || fail 'programs for the guest'
tar -xf "$tar" -C work/tree --strip-components=1 ${PART:+--wildcards "*/$PART"} || fail "unpacking $tar"
files=$(find work/tree -type f | wc -l)
all=$(find work/tree | wc -l)
say "unpacked: $files files of $all names, $(du -sm work/tree | cut -f 1) MiB"

boot tree -c "${CPUS:-2}" -m 1G ${APPEND:+-a "$APPEND"} --share tools,tag=tools,ro --share work,tag=share --control "$TMP/s"
asks "$(guest_tools_init)"
asks 'mkdir /share; mount -t 9p -o trans=virtio,version=9p2000.L,cache='"${CACHE:-mmap}"',msize=512000 share /share; cd /share/tree; a=$?'
[ "$REPLY" = 0 ] || fail 'the share'

# The directories first, so that several can fill them.
asks 'find . -type d | /usr/bin/cpio -pdm --quiet ../copy; a=$?'
[ "$REPLY" = 0 ] || fail "directories: $REPLY"
asks "find . ! -type d >/tmp/names; a=\$(wc -l </tmp/names)"
[ "$REPLY" = $((all - $(find work/tree -type d | wc -l))) ] || fail "names in the guest: $REPLY"
say 'names and directories'
asks "i=0; while [ \$i -lt $jobs ]; do awk -v i=\$i 'NR % $jobs == i' /tmp/names | /usr/bin/cpio -pm --quiet ../copy || echo failed >/tmp/bad & i=\$((i + 1)); done; wait; sync; [ -e /tmp/bad ] && a=bad || a=0"
[ "$REPLY" = 0 ] || fail "copying: $REPLY"
say 'copied'
diff -r --no-dereference work/tree work/copy || fail 'the copy differs'
list() { (cd "$1" && find . ! -type d -printf '%p %y %m %U %G %Ts %l\n' -o -printf '%p %y %m %U %G\n' | sort); }
diff <(list work/tree) <(list work/copy) >differ || fail "modes, owners or times of the copy differ: $(head -n 4 differ)"
say 'compared by the host'
want=$(cd work/tree && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
asks "cd /share/copy; a=\$(find . -type f -print0 | LC_ALL=C sort -z | /usr/bin/xargs -0 /usr/bin/sha256sum | sha256sum); cd /"
[ "$REPLY" = "$want" ] || fail "the guest reads something else: $REPLY"
say 'hashed'
asks 'cd /share/copy; for i in *; do mv "$i" "$i.moved" || a="$a $i"; done; n=0; for i in $(find . -type f -name "*.h" | head -n 5000); do mv $i $i.moved || a="$a $i"; n=$((n + 1)); done; cd /; mv /share/copy /share/moved || a=no; echo $n renamed'
[ -z "$REPLY" ] || fail "renaming: $REPLY"
[ "$(find work/moved -type f | wc -l)" = "$files" ] || fail 'files after renaming'
[ ! -e work/copy ] || fail 'what was renamed is there'
say 'renamed'
asks "a=\$(find /share/moved -mindepth 1 -maxdepth 2 | /usr/bin/xargs -P $jobs -n 8 /usr/bin/rm -rf 2>&1); rm -r /share/moved || a=\$a\$?"
[ -z "$REPLY" ] || fail "rm -r: $REPLY"
[ ! -e work/moved ] || fail 'something was not removed'
say 'removed'
ends
exit 0
