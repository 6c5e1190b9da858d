/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 9p server as a file system: what a guest does lands in the tree as it meant it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/lib/p9_client.h"

static struct p9c *c;

static void setup(void)
{
	p9t_begin();
	cr_assert(chmod(p9t_dir(), 0755) == 0);
	(void)umask(077); /* must not reach what the guest makes */
	c = p9c_new(p9t_dir(), false, true);
}

static void teardown(void)
{
	p9c_free(c);
	p9t_end();
}

TestSuite(p9_fs, .init = setup, .fini = teardown, .timeout = 60);

static struct stat lst(const char *name)
{
	struct stat st;

	cr_assert(lstat(p9t_at(name), &st) == 0, "%s: %s", name, strerror(errno));
	return st;
}

static int make_dir(uint32_t fid, const char *name, uint32_t mode, uint32_t gid)
{
	p9c_u32(c, fid);
	p9c_str(c, name);
	p9c_u32(c, mode);
	p9c_u32(c, gid);
	return p9c_call(c, P9_TMKDIR);
}

static int setattr(uint32_t fid, uint32_t valid, uint32_t mode, uint32_t uid, uint32_t gid,
		   uint64_t size, uint64_t sec)
{
	p9c_u32(c, fid);
	p9c_u32(c, valid);
	p9c_u32(c, mode);
	p9c_u32(c, uid);
	p9c_u32(c, gid);
	p9c_u64(c, size);
	p9c_u64(c, sec);
	p9c_u64(c, 5);
	p9c_u64(c, sec + 1);
	p9c_u64(c, 6);
	return p9c_call(c, P9_TSETATTR);
}

struct attr {
	uint64_t valid, nlink, rdev, size;
	struct p9_qid qid;
	uint32_t mode, uid, gid;
};

static int getattr(uint32_t fid, struct attr *a)
{
	int rc;

	p9c_u32(c, fid);
	p9c_u64(c, 0x7ff);
	rc = p9c_call(c, P9_TGETATTR);
	if (rc < 0)
		return rc;
	cr_assert_eq(c->r_len, 160);
	a->valid = p9c_r64(c);
	p9c_rqid(c, &a->qid);
	a->mode = p9c_r32(c);
	a->uid = p9c_r32(c);
	a->gid = p9c_r32(c);
	a->nlink = p9c_r64(c);
	a->rdev = p9c_r64(c);
	a->size = p9c_r64(c);
	return 0;
}

Test(p9_fs, create_write_read)
{
	char buf[32] = "";

	cr_assert_eq(p9c_walk(c, 0, 1, ""), 0);
	cr_assert_eq(p9c_create(c, 1, "f", O_RDWR | O_CREAT, 0666, 7), 0);
	cr_assert_eq(p9c_write(c, 1, 0, "hello world", 11), 11);
	cr_assert_eq(p9c_write(c, 1, 6, "there", 5), 5);
	cr_assert_eq(p9c_read(c, 1, 0, buf, sizeof(buf)), 11);
	cr_assert_str_eq(buf, "hello there");
	cr_assert_eq(p9c_read(c, 1, 11, buf, sizeof(buf)), 0, "end of file");
	p9c_u32(c, 1);
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TFSYNC), 0);
	cr_assert_eq(p9c_clunk(c, 1), 0);
	cr_assert_eq(p9c_clunk(c, 1), -EBADF);
	cr_assert_eq(lst("f").st_mode, S_IFREG | 0666, "the guest's mode, not our umask");
	cr_assert_eq(lst("f").st_size, 11);
}

Test(p9_fs, owners_and_modes)
{
	if (geteuid())
		cr_skip_test("needs root");
	cr_assert_eq(p9c_attach(c, 5, 1234, ""), 0);
	cr_assert_eq(p9c_walk(c, 5, 6, ""), 0);
	cr_assert_eq(p9c_create(c, 6, "f", O_WRONLY | O_CREAT | O_EXCL, 04751, 4321), 0);
	cr_assert_eq(lst("f").st_uid, 1234);
	cr_assert_eq(lst("f").st_gid, 4321);
	cr_assert_eq(lst("f").st_mode & 07777, 04751);
	cr_assert_eq(make_dir(5, "d", 01777, 99), 0);
	cr_assert_eq(lst("d").st_uid, 1234);
	cr_assert_eq(lst("d").st_gid, 99);
	cr_assert_eq(lst("d").st_mode & 07777, 01777);
	p9c_u32(c, 5);
	p9c_str(c, "l");
	p9c_str(c, "/etc/passwd");
	p9c_u32(c, 77);
	cr_assert_eq(p9c_call(c, P9_TSYMLINK), 0);
	cr_assert_eq(lst("l").st_uid, 1234);
	cr_assert_eq(lst("l").st_gid, 77);
	/* And the root's requests are root's again. */
	cr_assert_eq(make_dir(0, "r", 0700, 0), 0);
	cr_assert_eq(lst("r").st_uid, 0);
	cr_assert_eq(lst("r").st_gid, 0);
}

Test(p9_fs, set_group_id_directory)
{
	if (geteuid())
		cr_skip_test("needs root");
	cr_assert_eq(mkdir(p9t_at("d"), 0777), 0);
	cr_assert_eq(chown(p9t_at("d"), 0, 555), 0);
	cr_assert_eq(chmod(p9t_at("d"), 02777), 0);
	cr_assert_eq(p9c_attach(c, 5, 1234, ""), 0);
	cr_assert_eq(p9c_walk(c, 5, 6, "d"), 0);
	/* A user outside of group 555 asks for a set-group-id program of that group. */
	cr_assert_eq(p9c_create(c, 6, "f", O_WRONLY | O_CREAT, 02775, 1234), 0);
	cr_assert_eq(lst("d/f").st_gid, 555, "the directory's group");
	cr_assert_eq(lst("d/f").st_mode & 07777, 0775, "and no set-group-id bit");
	cr_assert_eq(p9c_walk(c, 5, 7, "d"), 0);
	cr_assert_eq(make_dir(7, "sub", 0755, 1234), 0);
	cr_assert(lst("d/sub").st_mode & S_ISGID, "directories inherit it");
}

Test(p9_fs, special_files)
{
	if (geteuid())
		cr_skip_test("needs root");
	struct attr a;

	p9c_u32(c, 0);
	p9c_str(c, "null");
	p9c_u32(c, S_IFCHR | 0666);
	p9c_u32(c, 1);
	p9c_u32(c, 3);
	p9c_u32(c, 5);
	cr_assert_eq(p9c_call(c, P9_TMKNOD), 0);
	cr_assert_eq(lst("null").st_mode, S_IFCHR | 0666);
	cr_assert_eq(lst("null").st_rdev, makedev(1, 3));
	cr_assert_eq(lst("null").st_gid, 5);
	cr_assert_eq(p9c_walk(c, 0, 1, "null"), 0);
	cr_assert_eq(getattr(1, &a), 0);
	cr_assert_eq(a.mode, S_IFCHR | 0666);
	cr_assert_eq(a.rdev, 0x103);
	cr_assert_eq(setattr(1, 1, 0600, 0, 0, 0, 0), 0);
	cr_assert_eq(lst("null").st_mode, S_IFCHR | 0600);
	p9c_u32(c, 0);
	p9c_str(c, "null");
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TUNLINKAT), 0);
	cr_assert_eq(access(p9t_at("null"), F_OK), -1);
}

Test(p9_fs, attributes)
{
	struct attr a;
	struct stat st;

	p9t_put("f", "0123456789");
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(getattr(1, &a), 0);
	cr_assert_eq(a.valid & 0x7ff, 0x7ff);
	cr_assert_eq(a.size, 10);
	cr_assert_eq(a.nlink, 1);
	cr_assert_eq(setattr(1, 8, 0, 0, 0, 4, 0), 0, "size, by a fid that is not open");
	cr_assert_eq(lst("f").st_size, 4);
	cr_assert_eq(setattr(1, 0x10 | 0x20 | 0x80 | 0x100, 0, 0, 0, 0, 1000), 0);
	st = lst("f");
	cr_assert_eq(st.st_atim.tv_sec, 1000);
	cr_assert_eq(st.st_mtim.tv_sec, 1001);
	cr_assert_eq(st.st_mtim.tv_nsec, 6);
	cr_assert_eq(setattr(1, 1, 0123, 0, 0, 0, 0), 0);
	cr_assert_eq(lst("f").st_mode & 07777, 0123);
	cr_assert_eq(setattr(1, 8, 0, 0, 0, UINT64_MAX, 0), -EINVAL);
	if (!geteuid()) {
		/* The mode asked for survives the change of owner beside it. */
		cr_assert_eq(setattr(1, 1 | 2 | 4, 04755, 11, 12, 0, 0), 0);
		cr_assert_eq(lst("f").st_mode & 07777, 04755);
		cr_assert_eq(lst("f").st_uid, 11);
		cr_assert_eq(lst("f").st_gid, 12);
	}
	/* The version follows the contents. */
	cr_assert_eq(setattr(1, 0x20, 0, 0, 0, 0, 0), 0);
	uint32_t version = a.qid.version;
	cr_assert_eq(getattr(1, &a), 0);
	cr_assert_neq(a.qid.version, version);
	cr_assert_neq(lst("f").st_mtim.tv_sec, 1001);
}

Test(p9_fs, symlinks_stay_text)
{
	char target[512];

	p9c_u32(c, 0);
	p9c_str(c, "l");
	p9c_str(c, "../../etc/passwd");
	p9c_u32(c, (uint32_t)getegid());
	cr_assert_eq(p9c_call(c, P9_TSYMLINK), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "l"), 0);
	p9c_u32(c, 1);
	cr_assert_eq(p9c_call(c, P9_TREADLINK), 0);
	p9c_rstr(c, target, sizeof(target));
	cr_assert_str_eq(target, "../../etc/passwd");
	/* Times and owner of the link itself. */
	cr_assert_eq(setattr(1, 0x20 | 0x100, 0, 0, 0, 0, 2000), 0);
	cr_assert_eq(lst("l").st_mtim.tv_sec, 2001);
	p9t_put("f", "");
	cr_assert_eq(p9c_walk(c, 0, 2, "f"), 0);
	p9c_u32(c, 2);
	cr_assert_eq(p9c_call(c, P9_TREADLINK), -EINVAL, "not a link");
}

Test(p9_fs, names_move)
{
	p9t_put("a", "A");
	cr_assert_eq(make_dir(0, "d", 0755, (uint32_t)getegid()), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "a"), 0);
	cr_assert_eq(p9c_walk(c, 0, 2, "d"), 0);
	p9c_u32(c, 0);
	p9c_str(c, "a");
	p9c_u32(c, 2);
	p9c_str(c, "b");
	cr_assert_eq(p9c_call(c, P9_TRENAMEAT), 0);
	cr_assert_eq(lst("d/b").st_size, 1);
	/* The fid goes along with the file. */
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), 0);
	/* By fid, in a directory and back. */
	p9c_u32(c, 1);
	p9c_u32(c, 0);
	p9c_str(c, "c");
	cr_assert_eq(p9c_call(c, P9_TRENAME), 0);
	cr_assert_eq(lst("c").st_size, 1);
	/* Hard link. */
	p9c_u32(c, 2);
	p9c_u32(c, 1);
	p9c_str(c, "hard");
	cr_assert_eq(p9c_call(c, P9_TLINK), 0);
	cr_assert_eq(lst("d/hard").st_ino, lst("c").st_ino);
	/* Remove by fid: the file and the fid are gone. */
	p9c_u32(c, 1);
	cr_assert_eq(p9c_call(c, P9_TREMOVE), 0);
	cr_assert_eq(access(p9t_at("c"), F_OK), -1);
	cr_assert_eq(p9c_clunk(c, 1), -EBADF);
	p9c_u32(c, 0);
	p9c_str(c, "d");
	p9c_u32(c, 0x200);
	cr_assert_eq(p9c_call(c, P9_TUNLINKAT), -ENOTEMPTY);
}

Test(p9_fs, rename_while_open)
{
	char buf[8] = "";

	p9t_put("a", "old");
	cr_assert_eq(p9c_walk(c, 0, 1, "a"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
	p9t_put("n", "new!");
	cr_assert_eq(rename(p9t_at("n"), p9t_at("a")), 0); /* the host replaces the name */
	cr_assert_eq(p9c_read(c, 1, 0, buf, 8), 3);
	cr_assert_str_eq(buf, "old");
	cr_assert_eq(p9c_walk(c, 0, 2, "a"), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDONLY), 0);
	cr_assert_eq(p9c_read(c, 2, 0, buf, 8), 4, "a new walk sees what the host did");
}

Test(p9_fs, unlinked_but_open)
{
	struct attr a;
	char buf[8] = "";

	cr_assert_eq(p9c_walk(c, 0, 1, ""), 0);
	cr_assert_eq(p9c_create(c, 1, "t", O_RDWR | O_CREAT, 0600, (uint32_t)getegid()), 0);
	p9c_u32(c, 0);
	p9c_str(c, "t");
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TUNLINKAT), 0);
	cr_assert_eq(p9c_write(c, 1, 0, "abcd", 4), 4);
	cr_assert_eq(setattr(1, 8, 0, 0, 0, 2, 0), 0);
	cr_assert_eq(setattr(1, 1, 0640, 0, 0, 0, 0), 0);
	cr_assert_eq(getattr(1, &a), 0);
	cr_assert_eq(a.nlink, 0);
	cr_assert_eq(a.size, 2);
	cr_assert_eq(a.mode, S_IFREG | 0640);
	cr_assert_eq(p9c_read(c, 1, 0, buf, 8), 2);
	/* And one that was only walked to. */
	p9t_put("w", "x");
	cr_assert_eq(p9c_walk(c, 0, 2, "w"), 0);
	cr_assert_eq(unlink(p9t_at("w")), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDONLY), 0);
	cr_assert_eq(p9c_read(c, 2, 0, buf, 8), 1);
}

Test(p9_fs, append)
{
	p9t_put("log", "one ");
	cr_assert_eq(p9c_walk(c, 0, 1, "log"), 0);
	cr_assert_eq(p9c_open(c, 1, O_WRONLY | O_APPEND), 0);
	cr_assert_eq(p9c_write(c, 1, 0, "two", 3), 3);
	cr_assert_eq(lst("log").st_size, 7);
}

/* Lists a directory in replies of @count bytes; returns the number of entries. */
static unsigned list(uint32_t fid, uint32_t count, unsigned *ret_files)
{
	uint64_t off = 0;
	unsigned n = 0;

	*ret_files = 0;
	for (;;) {
		uint32_t len;
		size_t end;

		p9c_u32(c, fid);
		p9c_u64(c, off);
		p9c_u32(c, count);
		cr_assert_eq(p9c_call(c, P9_TREADDIR), 0);
		len = p9c_r32(c);
		cr_assert_leq(len, count);
		if (!len)
			return n;
		for (end = c->r_at + len; c->r_at < end; n++) {
			struct p9_qid q;
			char name[256];
			struct stat st;
			uint8_t type;

			p9c_rqid(c, &q);
			off = p9c_r64(c);
			type = p9c_r8(c);
			p9c_rstr(c, name, sizeof(name));
			if (!strcmp(name, ".") || !strcmp(name, ".."))
				continue;
			st = lst(name);
			cr_assert_eq(type, S_ISDIR(st.st_mode) ? 4 : 8);
			cr_assert_eq(q.type, S_ISDIR(st.st_mode) ? 0x80 : 0);
			++*ret_files;
		}
		cr_assert_eq(c->r_at, end, "whole entries only");
	}
}

Test(p9_fs, large_directory)
{
	unsigned files;
	char name[32];

	for (unsigned i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "file-with-a-name-%05u", i);
		p9t_put(name, "");
	}
	cr_assert_eq(mkdir(p9t_at("sub"), 0755), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, ""), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY | O_DIRECTORY), 0);
	for (unsigned count = 300; count < 60000; count = count * 7 + 1) {
		cr_assert_eq(list(1, count, &files), 3003, "in replies of %u", count);
		cr_assert_eq(files, 3001);
	}
	p9c_u32(c, 1);
	p9c_u64(c, 0);
	p9c_u32(c, 10);
	cr_assert_eq(p9c_call(c, P9_TREADDIR), -EINVAL, "no room for one entry");
	/* What comes later is seen from the start again. */
	p9t_put("late", "");
	(void)list(1, 8192, &files);
	cr_assert_eq(files, 3002);
}

Test(p9_fs, inode_numbers)
{
	struct p9_qid q1, q2;
	struct attr a;

	p9t_put("a", "");
	cr_assert_eq(link(p9t_at("a"), p9t_at("b")), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "a"), 0);
	cr_assert_eq(getattr(1, &a), 0);
	q1 = a.qid;
	cr_assert_eq(p9c_walk(c, 0, 2, "b"), 0);
	cr_assert_eq(getattr(2, &a), 0);
	q2 = a.qid;
	cr_assert_eq(q1.path, q2.path, "one inode, one number");
	cr_assert_eq(p9c_walk(c, 0, 3, "b"), 0);
}

Test(p9_inos, unique_over_devices)
{
	struct p9_inos t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	uint64_t a = p9_ino_path(&t, 1, 42), b = p9_ino_path(&t, 2, 42);
	uint64_t high = p9_ino_path(&t, 1, 42 | 1ull << 61);

	cr_assert_neq(a, b);
	cr_assert_neq(a, high);
	cr_assert_neq(b, high);
	cr_assert_eq(a, p9_ino_path(&t, 1, 42), "stable");
	for (unsigned i = 0; i < 1000; i++)
		(void)p9_ino_path(&t, 100 + i, 42);
	cr_assert_eq(b, p9_ino_path(&t, 2, 42));
	cr_assert_neq(p9_ino_path(&t, 5000, 42), p9_ino_path(&t, 5001, 42));
	cr_assert(p9_ino_path(&t, 5000, 42) >> 63, "beyond the table: apart from the exact ones");
	cr_assert_eq(t.cnt, P9_PREFIXES);
	free(t.pre);
}

Test(p9_fs, statfs)
{
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TSTATFS), 0);
	cr_assert_eq(c->r_len, 7 + 60);
	(void)p9c_r32(c);
	cr_assert_gt(p9c_r32(c), 0);
}

static int xattr_get(uint32_t fid, const char *name, char *buf, uint32_t len)
{
	uint64_t size;
	int rc;

	p9c_u32(c, fid);
	p9c_u32(c, 900);
	p9c_str(c, name);
	rc = p9c_call(c, P9_TXATTRWALK);
	if (rc < 0)
		return rc;
	size = p9c_r64(c);
	rc = p9c_read(c, 900, 0, buf, len);
	if (rc >= 0)
		cr_assert_eq((uint64_t)rc, MIN(size, (uint64_t)len));
	cr_assert_eq(p9c_clunk(c, 900), 0);
	return rc;
}

static int xattr_set(uint32_t fid, const char *name, const char *val, uint32_t flags)
{
	uint32_t len = (uint32_t)strlen(val);
	int rc;

	cr_assert_eq(p9c_walk(c, fid, 901, ""), 0);
	p9c_u32(c, 901);
	p9c_str(c, name);
	p9c_u64(c, len);
	p9c_u32(c, flags);
	rc = p9c_call(c, P9_TXATTRCREATE);
	if (rc == 0 && len)
		cr_assert_eq(p9c_write(c, 901, 0, val, len), (int)len);
	return rc < 0 ? (void)p9c_clunk(c, 901), rc : p9c_clunk(c, 901);
}

Test(p9_fs, xattrs)
{
	char buf[4096] = "";

	p9t_put("f", "");
	if (setxattr(p9t_at("f"), "user.probe", "", 0, 0) < 0)
		cr_skip_test("no user attributes here");
	(void)removexattr(p9t_at("f"), "user.probe");
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(xattr_set(1, "user.a", "value", 0), 0);
	cr_assert_eq(getxattr(p9t_at("f"), "user.a", buf, sizeof(buf)), 5);
	memset(buf, 0, sizeof(buf));
	cr_assert_eq(xattr_get(1, "user.a", buf, sizeof(buf)), 5);
	cr_assert_str_eq(buf, "value");
	cr_assert_eq(xattr_get(1, "user.none", buf, sizeof(buf)), -ENODATA);
	cr_assert_eq(xattr_set(1, "user.a", "again", XATTR_CREATE), -EEXIST);
	memset(buf, 'x', 3000);
	buf[3000] = 0;
	cr_assert_eq(xattr_set(1, "user.long", buf, 0), 0);
	cr_assert_eq(xattr_get(1, "user.long", buf, sizeof(buf)), 3000);
	cr_assert_eq(xattr_set(1, "user.empty", "", 0), 0, "empty is not absent");
	cr_assert_eq(getxattr(p9t_at("f"), "user.empty", buf, sizeof(buf)), 0);
	cr_assert_eq(xattr_set(1, "user.a", "", XATTR_REPLACE), 0, "what a removal looks like");
	cr_assert_eq(getxattr(p9t_at("f"), "user.a", buf, sizeof(buf)), -1);
	if (!geteuid() && setxattr(p9t_at("f"), "trusted.t", "1", 1, 0) == 0) {
		cr_assert_eq(xattr_get(1, "trusted.t", buf, sizeof(buf)), -EOPNOTSUPP);
		cr_assert_eq(xattr_set(1, "trusted.u", "1", 0), -EOPNOTSUPP);
		cr_assert_eq(getxattr(p9t_at("f"), "trusted.u", buf, sizeof(buf)), -1);
	}
	cr_assert_eq(xattr_get(1, "", buf, sizeof(buf)), (int)sizeof("user.long\0user.empty"));
}

Test(p9_fs, locks)
{
	p9t_put("f", "");
	cr_assert_eq(link(p9t_at("f"), p9t_at("g")), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(p9c_walk(c, 0, 2, "g"), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 0, 0, 10), -EBADF, "not open");
	cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDWR), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 100, 100, 10), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 0, 199, 5, 20), 1, "blocked, by the other name");
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 0, 200, 5, 20), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, 150, 5, 10), 0, "an owner's own");
	/* A hole in the middle, by the owner. */
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 2, 120, 10, 10), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, 120, 10, 20), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, 119, 1, 20), 1);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, 130, 1, 20), 1);
	cr_assert_eq(p9c_lock(c, P9_TGETLOCK, 2, 1, 0, 0, 20), 1);
	cr_assert_eq(p9c_r64(c), 100);
	cr_assert_eq(p9c_r64(c), 20);
	cr_assert_eq(p9c_r32(c), 10);
	cr_assert_eq(p9c_lock(c, P9_TGETLOCK, 2, 1, 0, 100, 20), 2, "nobody's");
	/* The clunk gives up what is left. */
	cr_assert_eq(p9c_clunk(c, 1), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, 0, 100, 30), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, INT64_MAX, 0, 30), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, UINT64_MAX, 0, 30), -EINVAL);
}

/* Whether somebody on the host could lock [start, start+len) of f for writing. */
static bool free_on_host(off_t start, off_t len)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	int fd = open(p9t_at("f"), O_RDWR | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fcntl(fd, F_OFD_GETLK, &fl), 0);
	(void)close(fd);
	return fl.l_type == F_UNLCK;
}

Test(p9_fs, locks_are_seen_on_the_host)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 500, .l_len = 10};
	int fd;

	p9t_put("f", "");
	for (uint32_t i = 1; i < 4; i++) {
		cr_assert_eq(p9c_walk(c, 0, i, "f"), 0);
		cr_assert_eq(p9c_open(c, i, i == 3 ? O_RDONLY : O_RDWR), 0);
	}
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 100, 100, 10), 0);
	cr_assert(!free_on_host(100, 1) && !free_on_host(199, 1));
	cr_assert(free_on_host(0, 100) && free_on_host(200, 100));
	/* Readers share; the last one gives up. */
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 0, 300, 100, 10), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 3, 0, 350, 100, 20), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 2, 300, 100, 10), 0);
	cr_assert(free_on_host(300, 50) && !free_on_host(350, 1) && !free_on_host(449, 1));
	cr_assert(!free_on_host(100, 1), "another range stays");
	cr_assert_eq(p9c_clunk(c, 3), 0);
	cr_assert(free_on_host(200, 0));
	/* The other way round. */
	fd = open(p9t_at("f"), O_RDWR | O_CLOEXEC);
	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &fl), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 0, 505, 1, 20), 1, "blocked");
	cr_assert_eq(p9c_lock(c, P9_TGETLOCK, 2, 0, 0, 0, 10), 1);
	cr_assert_eq(p9c_r64(c), 500);
	cr_assert_eq(p9c_r64(c), 10);
	(void)close(fd);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 0, 505, 1, 20), 0);
	/* A whole file, down to nothing. */
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 2, 0, 0, 20), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 2, 0, 0, 10), 0);
	cr_assert(free_on_host(0, 0));
}

Test(p9_fs, locks_of_two_guests)
{
	struct p9c *a = c, *b = p9c_new(p9t_at("."), false, true);

	p9t_put("f", "");
	for (unsigned i = 0; i < 2; i++) {
		c = i ? b : a;
		cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
		cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
	}
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 0, 10, 7), 0);
	c = a;
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 5, 10, 7), 1, "the same names, another machine");
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 10, 10, 7), 0);
	c = b;
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 0, 0, 0, 7), 1);
	/* Its end gives them up. */
	p9c_free(b);
	c = a;
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 1, 1, 5, 10, 7), 0);
}

Test(p9_fs, attach_below)
{
	struct attr a;

	cr_assert_eq(mkdir(p9t_at("x"), 0755), 0);
	cr_assert_eq(mkdir(p9t_at("x/y"), 0755), 0);
	cr_assert_eq(symlink("/etc", p9t_at("x/etc")), 0);
	cr_assert_eq(p9c_attach(c, 7, 0, "/x/y"), 0);
	cr_assert_eq(getattr(7, &a), 0);
	cr_assert_eq(a.qid.path & 0xffffffffffffull, lst("x/y").st_ino);
	cr_assert_lt(p9c_attach(c, 8, 0, "x/etc"), 0);
	cr_assert_lt(p9c_attach(c, 8, 0, "../etc"), 0);
	cr_assert_lt(p9c_attach(c, 8, 0, "x/../../etc"), 0);
}
