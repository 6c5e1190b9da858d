#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # what is in single quotes is the guest's
# A share keeps the rules of a file system: who may do what, what a rename does, what sticky and set-group-ID directories and
# ACLs mean. The same cases run in a directory of the host's and in the guest, and have to have the same answers.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
# shellcheck source=tests/lib/guesttools.sh
. "$here/../lib/guesttools.sh"
cd "$TMP" || exit 1

# In one shell of busybox, as root, in an empty directory. N: the case; what it says and its status are the answer.
cat >rules <<'END'
umask 022
as() { # as UID[,GID...] WORDS...: without any capability; the first group is the primary one
    ids=$1; shift
    groups=${ids#*,}
    /usr/bin/setpriv --reuid "${ids%%,*}" --regid "${groups%%,*}" --groups "$groups" --inh-caps=-all --bounding-set=-all "$@"
}
n=0
t() { # t WORDS...: a case
    n=$((n + 1))
    said=$("$@" 2>&1 </dev/null); rc=$?
    echo "$n $rc $* -- $said"
}
look() { for f; do stat -c '%A %h %u %g %n' "$f"; done; }
fill() { echo "$1" >"$2"; }

# Owners, modes.
fill secret a; chmod 600 a; chown 1000:1000 a
t as 1000,1000 cat a
t as 1001,1001 cat a
t as 1001,1000 cat a
chmod 040 a
t as 1000,1000 cat a
t as 1001,1000 cat a
t as 1001,1001,1000 cat a
chmod 604 a
t as 1001,1001 cat a
t as 1001,1001,1000 cat a
t as 1001,1001 chmod 666 a
t as 1001,1001 chown 1001 a
t as 1000,1000 chown 1001 a
t as 1000,1000,2000 chown 1000:2000 a
t as 1000,1000 chown 1000:3000 a
t as 1001,1001 touch -d @1000000000 a
t as 1000,1000 touch -d @1000000000 a
t stat -c '%Y %s' a
t as 1001,1001 truncate -s 0 a
t look a
mkdir x; chmod 711 x; fill in x/f
t as 1000,1000 ls x
t as 1000,1000 cat x/f
chmod 744 x
t as 1000,1000 ls x
t as 1000,1000 cat x/f
chmod 755 x
t as 1000,1000 sh -c 'echo new >x/g'
t as 1000,1000 mkdir x/d
t as 1000,1000 rm -f x/f
t as 1000,1000 ln x/f x/h
t as 1000,1000 mkfifo x/p
mkdir own; chown 1000:1000 own
t as 1000,1000,2000 sh -c 'umask 027; echo new >own/g; mkdir own/d; mkfifo own/p; ln -s g own/l; ln own/g own/h'
t look own/g own/d own/p own/l own/h
t as 1000,1000 mknod own/n c 1 3
t mknod own/n c 1 3
t look own/n
t as 1001,1001 cat own/g

# Bits that go away, and do not.
fill prog own/s; chown 1000:1000 own/s; chmod 6755 own/s
t as 1001,1001 sh -c 'echo >>own/s'
t look own/s
# Not of a file that others may write to: its bits go when they do, and Linux' client of 9p (6.1) does not see to it.
t as 1000,1000,2000 chown 1000:2000 own/s
t look own/s
t as 1000,1000 chmod 2755 own/s
t look own/s

# Sticky, set-group-ID.
mkdir sticky; chmod 1777 sticky
t as 1000,1000 sh -c 'echo a >sticky/a; echo b >sticky/b; mkdir sticky/d'
t as 1001,1001 rm -f sticky/a
t as 1001,1001 mv sticky/a sticky/c
t as 1001,1001 sh -c 'echo c >sticky/c; mv sticky/c sticky/b'
t as 1001,1001 rmdir sticky/d
t as 1000,1000 rm -f sticky/a
t ls sticky
mkdir group; chown 0:2000 group; chmod 2777 group
t as 1000,1000 sh -c 'echo a >group/a; mkdir group/d; mkdir group/d/e; mkfifo group/p'
t look group/a group/d group/d/e group/p
t as 1000,1000 sh -c 'echo >group/x; chmod 2755 group/x'
t look group/x
t as 1000,1000,2000 sh -c 'echo >group/y; chmod 2755 group/y'
t look group/y

# Renames.
mkdir -p r/d1 r/d2 r/full/x r/locked; fill 1 r/f1; fill 2 r/f2; ln r/f1 r/same; ln -s nowhere r/loose; mkdir r/d1/in
t mv -T r/f1 r/f2
t cat r/f2
t mv -T r/d1 r/d2
t ls r r/d2
t mv -T r/d2 r/full
t mv -T r/d2 r/f2
t mv -T r/f2 r/d2
t mv -T r/d2 r/d2/in/below
t mv -T r/none r/x
t mv -T r/f2 r/none/x
t mv -T r/f2 r/f2/x
t mv -T r/f2 r/same
t ls -i r/f2 r/same | wc -l
t mv -T r/loose r/looser
t readlink r/looser
t mv -T r/looser r/same
chmod 777 r
t as 1000,1000 mv -T r/d2 r/locked/d
t as 1000,1000 mv -T r/full r/moved
chmod 755 r/moved 2>&1
t as 1000,1000 mv -T r/moved/x r/x
chmod 755 r
t as 1000,1000 mv -T r/locked r/unlocked
t ls -R r

# Names.
long=$(printf '%0255d' 0)
t sh -c "echo >$long; ls $long | wc -c"
t sh -c "echo >${long}0"
t mkdir 'a b'
t sh -c 'echo x >"$(printf "tab\tline\nend")"; ls | grep -c end'
ln -s loop2 loop1; ln -s loop1 loop2
t cat loop1
t mkdir loop1
t cat own/g/x
t rmdir own
t rm own
t rmdir own/g
t ln own own2
t mkdir own
t sh -c 'exec 3<own/g 4>>own/g; rm own/g own/h; echo more >&4; cat <&3; [ -e own/g ]'
END
cat >acls <<'END'
set -- /usr/bin/setfacl /usr/bin/getfacl
mkdir acl; fill x acl/f; chmod 600 acl/f
$1 -m u:1001:r-- acl/f
t as 1001,1001 cat acl/f
t as 1001,1001 sh -c 'echo >>acl/f'
t as 1002,1002 cat acl/f
t look acl/f
chmod 600 acl/f
t as 1001,1001 cat acl/f
chmod 640 acl/f; $1 -m g:2000:rw- acl/f
t as 1002,1002,2000 sh -c 'echo more >>acl/f'
t $2 -nc acl/f
$1 -d -m u:1001:rwx,g::r-x,o::--- acl; chmod 777 acl
t as 1000,1000 sh -c 'umask 077; echo new >acl/new; mkdir acl/d; echo deep >acl/d/deep'
t $2 -nc acl/new acl/d acl/d/deep
t as 1001,1001 cat acl/d/deep
t as 1002,1002 cat acl/d/deep
t as 1002,1002 $1 -m u:1002:rwx acl/new
$1 -b acl/new; $1 -k acl/d
t $2 -nc acl/new acl/d
END
cat rules acls >all
chmod 755 all
mkdir tools work native
guest_tools tools setpriv setfacl getfacl || fail 'programs for the guest'
mkdir bb
for i in $(busybox --list); do ln -s "$(command -v busybox)" "bb/$i"; done
(cd native && PATH=$TMP/bb sh ../all) >want 2>&1
grep -q 'Permission denied' want || fail "the host's answers: $(head want)"
guest_files=("$TMP/all")

boot share --share tools,tag=tools,ro --share work,tag=share
asks "$(guest_tools_init)"
asks 'for i in $(busybox --list); do [ -e /bin/$i ] || busybox ln -s busybox /bin/$i; done'
asks 'mkdir /share; mount -t 9p -o trans=virtio,version=9p2000.L,access=client,posixacl,cache=mmap,msize=512000 share /share; a=$?'
[ "$REPLY" = 0 ] || fail 'the share'
asks 'mkdir /share/in; cd /share/in; PATH=/bin sh /all >/share/got 2>&1; a=$?; cd /'
diff want work/got >differ || fail "$(grep -c '^<' differ) of $(wc -l <want) answers differ: $(head -n 40 differ)"
# And what it left is the same on the host.
tree() { (cd "$1" && find . -printf '%p %y %m %U %G %n %l\n' | sort && getfacl -Rn . 2>/dev/null); }
diff <(tree native) <(tree work/in) >differ || fail "what is left differs: $(head -n 20 differ)"
ends
exit 0
