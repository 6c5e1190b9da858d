/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 9p server against a hostile guest: faults that other servers had, malformed messages, limits.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/p9_client.h"
#include "virtio/p9.h"

/* The exported tree is top/root; top/secret is what must not be reached. */
static struct p9c *c;

static void setup(void)
{
	p9t_begin();
	cr_assert(!mkdir(p9t_at("root"), 0755) && !mkdir(p9t_at("root/d"), 0755));
	p9t_put("secret", "secret");
	p9t_put("root/f", "inside");
}

static void setup_session(void)
{
	setup();
	c = p9c_new(p9t_at("root"), false, true);
}

static void teardown(void)
{
	if (c)
		p9c_free(c);
	p9t_end();
}

TestSuite(p9, .init = setup_session, .fini = teardown, .timeout = 60);
TestSuite(p9_start, .init = setup, .fini = teardown, .timeout = 60);

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

/* ---- leaving the tree -------------------------------------------------------------------------------- */

Test(p9, links_are_not_followed)
{
	char buf[16];

	cr_assert_eq(symlink(p9t_dir(), p9t_at("root/up")), 0);
	cr_assert_eq(symlink(p9t_at("secret"), p9t_at("root/s")), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "up/secret"), 1, "the link itself is as far as it goes");
	cr_assert_eq(p9c_clunk(c, 1), -EBADF, "a partial walk makes no fid");
	cr_assert_eq(p9c_walk(c, 0, 1, "s"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), -ELOOP);
	cr_assert_lt(p9c_read(c, 1, 0, buf, sizeof(buf)), 0);
	/* Creating through a link that points out of the tree. */
	cr_assert_eq(symlink(p9t_at("new"), p9t_at("root/n")), 0);
	cr_assert_eq(p9c_walk(c, 0, 2, ""), 0);
	cr_assert_lt(p9c_create(c, 2, "n", O_WRONLY | O_CREAT, 0644, 0), 0);
	cr_assert_lt(p9c_create(c, 2, "s", O_WRONLY | O_CREAT | O_TRUNC, 0644, 0), 0);
	cr_assert_eq(access(p9t_at("new"), F_OK), -1);
	struct stat st;
	cr_assert(stat(p9t_at("secret"), &st) == 0 && st.st_size == 6);
}

Test(p9, links_of_proc_are_not_followed)
{
	if (geteuid())
		cr_skip_test("needs root");
	p9c_free(c);
	c = p9c_new("/proc/self", false, true);
	cr_assert_eq(p9c_walk(c, 0, 1, "root/etc"), 1);
	cr_assert_eq(p9c_walk(c, 0, 1, "cwd"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), -ELOOP);
}

Test(p9, parent_of_the_root_is_the_root)
{
	struct p9_qid root, q;

	p9c_u32(c, 0);
	p9c_u64(c, 0x7ff);
	cr_assert_eq(p9c_call(c, P9_TGETATTR), 0);
	(void)p9c_r64(c);
	p9c_rqid(c, &root);
	cr_assert_eq(p9c_walk(c, 0, 1, ".."), 0);
	p9c_rqid(c, &q);
	cr_assert_eq(q.path, root.path);
	cr_assert_eq(p9c_walk(c, 0, 2, "../../../secret"), 1);
	cr_assert_eq(p9c_walk(c, 0, 3, "d/.."), 0);
	p9c_rqid(c, &q);
	p9c_rqid(c, &q);
	cr_assert_eq(q.path, root.path);
	cr_assert_lt(p9c_walk(c, 0, 4, "d/../../secret"), 2);
	cr_assert_eq(p9c_clunk(c, 4), -EBADF);
	/* A directory that the host has moved out of the tree has no parent for the guest. */
	cr_assert_eq(p9c_walk(c, 0, 5, "d"), 0);
	cr_assert_eq(rename(p9t_at("root/d"), p9t_at("d")), 0);
	cr_assert_lt(p9c_walk(c, 5, 6, ".."), 0);
}

static int name_call(uint8_t type, const char *name, size_t len)
{
	p9c_u32(c, 0);
	if (type == P9_TLINK || type == P9_TRENAME) {
		p9c_u32(c, type == P9_TLINK ? 1 : 0);
	} else if (type == P9_TWALK) {
		p9c_u32(c, 77);
		p9c_u16(c, 1);
	}
	p9c_u16(c, (uint16_t)len);
	p9c_bytes(c, name, len);
	switch (type) {
	case P9_TMKDIR:
		p9c_u32(c, 0755);
		p9c_u32(c, 0);
		break;
	case P9_TSYMLINK:
		p9c_str(c, "x");
		p9c_u32(c, 0);
		break;
	case P9_TMKNOD:
		p9c_u32(c, S_IFREG | 0644);
		p9c_u32(c, 0);
		p9c_u32(c, 0);
		p9c_u32(c, 0);
		break;
	case P9_TLCREATE:
		p9c_u32(c, O_CREAT | O_WRONLY);
		p9c_u32(c, 0644);
		p9c_u32(c, 0);
		break;
	case P9_TUNLINKAT:
		p9c_u32(c, 0);
		break;
	case P9_TRENAMEAT:
		p9c_u32(c, 0);
		p9c_str(c, "y");
		break;
	default:
		break;
	}
	return p9c_call(c, type);
}

Test(p9, names_are_names)
{
	static const uint8_t calls[] = {P9_TMKDIR,   P9_TSYMLINK,  P9_TMKNOD,
					P9_TLCREATE, P9_TLINK,	   P9_TRENAME,
					P9_TWALK,    P9_TUNLINKAT, P9_TRENAMEAT};
	char longest[NAME_MAX + 2];

	memset(longest, 'n', sizeof(longest));
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
		uint8_t t = calls[i];

		cr_assert_eq(name_call(t, "", 0), -EINVAL, "%u: empty", t);
		cr_assert_eq(name_call(t, ".", 1), -EINVAL, "%u: dot", t);
		cr_assert_eq(name_call(t, "a/b", 3), -EINVAL, "%u: slash", t);
		cr_assert_eq(name_call(t, "../secret", 9), -EINVAL, "%u: path", t);
		cr_assert_eq(name_call(t, "/etc", 4), -EINVAL, "%u: absolute", t);
		cr_assert_eq(name_call(t, "f\0g", 3), -EINVAL, "%u: NUL", t);
		cr_assert_eq(name_call(t, longest, NAME_MAX + 1), -ENAMETOOLONG, "%u: long", t);
		if (t != P9_TWALK)
			cr_assert_eq(name_call(t, "..", 2), -EINVAL, "%u: dot dot", t);
	}
	cr_assert_eq(name_call(P9_TMKDIR, longest, NAME_MAX), 0, "the longest name is one");
	cr_assert_eq(access(p9t_at("secret"), F_OK), 0);
}

/* ---- special files ------------------------------------------------------------------------------------ */

Test(p9, special_files_are_never_opened)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", p9t_at("root/sock"));
	cr_assert_eq(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	cr_assert_eq(mkfifo(p9t_at("root/fifo"), 0666), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "fifo"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), -EOPNOTSUPP, "an open would wait for a writer");
	cr_assert_eq(p9c_open(c, 1, O_RDWR), -EOPNOTSUPP);
	cr_assert_eq(p9c_walk(c, 0, 2, "sock"), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDWR), -EOPNOTSUPP);
	/* Tlcreate where one is already. */
	cr_assert_eq(p9c_walk(c, 0, 3, ""), 0);
	cr_assert_eq(p9c_create(c, 3, "fifo", O_WRONLY | O_CREAT, 0644, 0), -EOPNOTSUPP);
	cr_assert_eq(p9c_create(c, 3, "fifo", O_WRONLY | O_CREAT | O_EXCL, 0644, 0), -EEXIST);
	/* Nor truncated. */
	p9c_u32(c, 1);
	p9c_u32(c, 8);
	for (int i = 0; i < 3; i++)
		p9c_u32(c, 0);
	for (int i = 0; i < 5; i++)
		p9c_u64(c, 0);
	cr_assert_eq(p9c_call(c, P9_TSETATTR), -EINVAL);
	if (!geteuid() && !mknod(p9t_at("root/dev"), S_IFCHR | 0666, makedev(1, 5))) {
		cr_assert_eq(p9c_walk(c, 0, 4, "dev"), 0);
		cr_assert_eq(p9c_open(c, 4, O_RDONLY), -EOPNOTSUPP);
	}
	(void)close(sock);
}

Test(p9, directories_are_not_files)
{
	char buf[64];

	cr_assert_eq(p9c_walk(c, 0, 1, "d"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDWR), -EISDIR);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), 0);
	cr_assert_eq(p9c_read(c, 1, 0, buf, sizeof(buf)), -EISDIR);
	cr_assert_eq(p9c_walk(c, 0, 2, ""), 0);
	cr_assert_eq(p9c_create(c, 2, "d", O_WRONLY | O_CREAT, 0644, 0), -EISDIR);
	cr_assert_eq(p9c_walk(c, 0, 3, "f"), 0);
	cr_assert_eq(p9c_open(c, 3, O_RDONLY), 0);
	cr_assert_eq(p9c_open(c, 3, O_RDONLY), -EBUSY, "open already");
	cr_assert_eq(p9c_write(c, 3, 0, "x", 1), -EBADF, "open for reading");
	p9c_u32(c, 3);
	p9c_u64(c, 0);
	p9c_u32(c, 4096);
	cr_assert_eq(p9c_call(c, P9_TREADDIR), -ENOTDIR);
	cr_assert_eq(p9c_walk(c, 3, 4, "x"), -ENOTDIR);
}

/* ---- malformed messages ------------------------------------------------------------------------------- */

/* A reply's error, or 0. */
static int err_of(int n)
{
	cr_assert_geq(n, 7);
	return c->r[4] == P9_RLERROR ? -(int)(c->r[7] | c->r[8] << 8) : 0;
}

Test(p9, every_prefix_of_every_message)
{
	static const uint8_t types[] = {8,  12, 14, 16, 18, 20, 22,  24,  26,  30,  32,	 40,  50,
					52, 54, 70, 72, 74, 76, 104, 108, 110, 116, 118, 120, 122};
	uint8_t m[96] = {0};

	for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
		for (uint32_t len = 7; len < 60; len++) {
			memset(m, 0, sizeof(m));
			m[0] = (uint8_t)len;
			m[4] = types[i];
			m[7] = 9; /* no such fid */
			int rc = err_of(p9c_raw(c, m, len, 256));

			if (types[i] != P9_TFLUSH || len != 9)
				cr_assert_lt(rc, 0, "type %u of %u bytes", types[i], len);
		}
	}
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0, "still serving");
}

Test(p9, sizes)
{
	uint8_t m[64] = {0};

	m[4] = P9_TCLUNK;
	m[0] = 6;
	cr_assert_eq(err_of(p9c_raw(c, m, 11, 64)), -EPROTO, "less than a header");
	m[0] = 12;
	cr_assert_eq(err_of(p9c_raw(c, m, 11, 64)), -EPROTO, "more than was sent");
	m[0] = 12;
	cr_assert_eq(err_of(p9c_raw(c, m, 12, 64)), -EPROTO, "trailing bytes");
	m[3] = 0xff;
	cr_assert_eq(err_of(p9c_raw(c, m, 11, 64)), -EPROTO, "huge");
	/* No room for any reply is the ring user's fault, as is less than a header. */
	m[3] = 0;
	m[0] = 11;
	cr_assert_eq(p9c_raw(c, m, 11, 10), -1);
	cr_assert(fg_reg(c->g, 0x70) & VIRTIO_S_NEEDS_RESET);
	cr_assert_eq(fg_start(c->g, FG_ALL), 0);
	cr_assert_eq(p9c_raw(c, m, 6, 64), -1);
	cr_assert(fg_reg(c->g, 0x70) & VIRTIO_S_NEEDS_RESET);
}

Test(p9, replies_stay_in_their_buffer)
{
	uint8_t m[19] = {19, 0, 0, 0, P9_TGETATTR, 1, 0, 0, 0, 0, 0, 0xff, 7};

	cr_assert_eq(err_of(p9c_raw(c, m, sizeof(m), 159)), -EMSGSIZE);
	cr_assert_eq(p9c_raw(c, m, sizeof(m), 160), 160);
	/* A read gets what fits. */
	uint8_t r[23] = {23, 0, 0, 0, P9_TREAD, 1, 0, 1,    0,	  0,	0,   0,
			 0,  0, 0, 0, 0,	0, 0, 0xff, 0xff, 0xff, 0xff};
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), 0);
	cr_assert_eq(p9c_raw(c, r, sizeof(r), 14), 14);
	cr_assert_arr_eq(c->r + 11, "ins", 3);
	cr_assert_eq(p9c_raw(c, r, sizeof(r), 11), 11, "none at all");
	/* An offset that the ring would take for "at the file position". */
	memset(r + 11, 0xff, 8);
	cr_assert_lt(err_of(p9c_raw(c, r, sizeof(r), 64)), 0);
	r[18] = 0x7f;
	cr_assert_leq(err_of(p9c_raw(c, r, sizeof(r), 64)), 0);
}

Test(p9, write_count_beyond_the_message)
{
	uint8_t m[64] = {0};

	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
	m[0] = 30;
	m[4] = P9_TWRITE;
	m[7] = 1;
	m[19] = 8; /* seven bytes follow */
	cr_assert_lt(err_of(p9c_raw(c, m, 64, 64)), 0);
	m[19] = 7;
	cr_assert_eq(err_of(p9c_raw(c, m, 64, 64)), 0);
	struct stat st;
	cr_assert(stat(p9t_at("root/f"), &st) == 0 && st.st_size == 7);
}

Test(p9, unknown_and_old_requests)
{
	for (unsigned t = 0; t < 256; t += 2) {
		if (t == P9_TVERSION || t == P9_TFLUSH)
			continue;
		cr_assert_lt(p9c_call(c, (uint8_t)t), 0, "type %u", t);
	}
	p9c_u32(c, 5);
	p9c_str(c, "");
	p9c_str(c, "");
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TAUTH), -EOPNOTSUPP);
}

Test(p9_start, version_comes_first)
{
	c = p9c_new(p9t_at("root"), false, false);
	cr_assert_eq(p9c_attach(c, 0, 0, ""), -EPROTO);
	cr_assert_eq(p9c_version(c, 4095, "9P2000.L"), -EMSGSIZE);
	cr_assert_eq(p9c_version(c, 1u << 30, "9P2000.L"), 0);
	cr_assert_eq(p9c_r32(c), P9_MSIZE_MAX);
	cr_assert_eq(p9c_attach(c, 0, 0, ""), 0);
	cr_assert_eq(p9c_version(c, 8192, "9P2000.u"), 0);
	cr_assert_eq(p9c_r32(c), 8192);
	char v[32];
	p9c_rstr(c, v, sizeof(v));
	cr_assert_str_eq(v, "unknown");
	cr_assert_eq(p9c_attach(c, 0, 0, ""), -EPROTO, "no session");
	cr_assert_eq(p9c_version(c, 8192, "9P2000.L"), 0);
	cr_assert_eq(p9c_clunk(c, 0), -EBADF, "a new session has no fids");
}

Test(p9, message_longer_than_msize)
{
	char big[9000];

	memset(big, 'x', sizeof(big));
	cr_assert_eq(p9c_version(c, 8192, "9P2000.L"), 0);
	cr_assert_eq(p9c_attach(c, 0, 0, ""), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
	cr_assert_eq(p9c_write(c, 1, 0, big, 9000), -EMSGSIZE);
	cr_assert_eq(p9c_write(c, 1, 0, big, 8192 - 23), 8192 - 23);
	/* And what is read does not exceed it, whatever room there is. */
	cr_assert_eq(p9c_write(c, 1, 8192 - 23, big, 4000), 4000);
	cr_assert_eq(p9c_read(c, 1, 0, big, 9000), 8192 - 11);
}

/* ---- limits ------------------------------------------------------------------------------------------- */

Test(p9, xattr_sizes)
{
	char val[64] = {0}, buf[256];

	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	p9c_u32(c, 1);
	p9c_str(c, "user.x");
	p9c_u64(c, UINT64_MAX);
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TXATTRCREATE), -E2BIG);
	p9c_u32(c, 1);
	p9c_str(c, "user.x");
	p9c_u64(c, 32);
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TXATTRCREATE), 0);
	cr_assert_eq(p9c_write(c, 1, 0, val, 33), -ENOSPC);
	cr_assert_eq(p9c_write(c, 1, 32, val, 1), -ENOSPC);
	cr_assert_eq(p9c_write(c, 1, UINT64_MAX, val, 2), -ENOSPC, "the sum wraps");
	memset(val, 'v', sizeof(val));
	cr_assert_eq(p9c_write(c, 1, 30, val, 2), 2);
	cr_assert_eq(p9c_read(c, 1, 0, buf, 32), -EBADF, "being written");
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), -EBADF);
	cr_assert_eq(p9c_walk(c, 1, 5, ""), -EBADF);
	if (p9c_clunk(c, 1) < 0)
		cr_skip_test("no user attributes here");
	/* What was not written is zero, not what the memory held. */
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	p9c_u32(c, 1);
	p9c_u32(c, 2);
	p9c_str(c, "user.x");
	cr_assert_eq(p9c_call(c, P9_TXATTRWALK), 0);
	cr_assert_eq(p9c_r64(c), 32);
	cr_assert_eq(p9c_read(c, 2, 0, buf, sizeof(buf)), 32, "no more than there is");
	for (unsigned i = 0; i < 30; i++)
		cr_assert_eq(buf[i], 0);
	cr_assert_eq(p9c_read(c, 2, 31, buf, sizeof(buf)), 1);
	cr_assert_eq(p9c_read(c, 2, UINT64_MAX, buf, sizeof(buf)), 0);
}

Test(p9, xattr_memory_is_bounded)
{
	unsigned n;
	int rc = 0;

	for (n = 0; n < 1000 && rc == 0; n++) {
		cr_assert_eq(p9c_walk(c, 0, 100 + n, ""), 0);
		p9c_u32(c, 100 + n);
		p9c_str(c, "user.x");
		p9c_u64(c, 65536);
		p9c_u32(c, 0);
		rc = p9c_call(c, P9_TXATTRCREATE);
	}
	cr_assert_eq(rc, -ENOBUFS);
	cr_assert_leq(n, P9_XATTR_BUDGET / 65536 + 1);
	for (unsigned i = 0; i < n; i++)
		(void)p9c_clunk(c, 100 + i);
	struct p9 *s = container_of(c->dev, struct p9, dev);
	cr_assert_eq(atomic_load(&s->xattr_bytes), 0, "all of it came back");
}

Test(p9_start, fids_are_bounded)
{
	struct rlimit rl = {700, 900};
	unsigned n;
	int rc = 0;

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &rl), 0);
	c = p9c_new(p9t_at("root"), false, true);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &rl), 0);
	cr_assert_eq(rl.rlim_cur, 900, "the soft limit was raised");
	for (n = 1; n < 2000 && rc == 0; n++)
		rc = p9c_walk(c, 0, n, "f");
	cr_assert_eq(rc, -ENFILE);
	cr_assert_gt(n, 500);
	cr_assert_lt(open_fds(), 900 - 200, "the VMM keeps some for itself");
	for (unsigned i = 1; i < n - 1; i++)
		cr_assert_eq(p9c_clunk(c, i), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0, "and they come back");
}

Test(p9_start, fids_without_descriptors_are_bounded)
{
	static struct p9 s;
	struct p9_fids t = {0};
	struct p9_fid *f = NULL;

	c = p9c_new(p9t_at("root"), false, true); /* the suite's end takes it away */
	p9_fd_budget_init();
	cr_assert_eq(p9_fids_init(&t), 0);
	cr_assert_eq(p9_fid_new(&s, P9_PATH, open("/", O_PATH), 0, &f), 0);
	for (uint32_t i = 0; i < P9_FIDS_MAX; i++)
		cr_assert_eq(p9_fids_add(&t, 0, i, f), 0);
	cr_assert_eq(p9_fids_add(&t, 0, P9_FIDS_MAX, f), -ENFILE);
	p9_fid_put(f);
	p9_fids_fini(&t);
}

Test(p9, cursors_end_with_their_message)
{
	uint8_t *p = malloc(3);
	struct p9_rd r = {.p = p, .left = 3};
	char text[8];

	memcpy(p, "\377\377a", 3);
	p9_get_str(&r, text, sizeof(text));
	cr_assert_eq(r.err, -EPROTO);
	cr_assert_str_eq(text, "");
	r = (struct p9_rd){.p = p, .left = 3};
	cr_assert_eq(p9_get64(&r), 0);
	cr_assert_eq(p9_get8(&r), 0, "the first fault stays");
	cr_assert_eq(p9_get_end(&r), -EPROTO);
	free(p);
}

Test(p9, fid_numbers)
{
	int before = open_fds();

	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "d"), -EBADF, "in use");
	cr_assert_eq(p9c_attach(c, 1, 0, ""), -EBADF);
	cr_assert_eq(p9c_walk(c, 0, P9_NOFID, "d"), -EBADF);
	cr_assert_eq(p9c_walk(c, 99, 2, "d"), -EBADF);
	cr_assert_eq(p9c_walk(c, 1, 1, ""), 0, "onto itself");
	cr_assert_eq(p9c_clunk(c, 1), 0);
	for (unsigned i = 0; i < 800; i++)
		cr_assert_eq(p9c_walk(c, 0, 1000 + i * 65537, ""), 0);
	for (unsigned i = 0; i < 800; i++)
		cr_assert_eq(p9c_clunk(c, 1000 + i * 65537), 0);
	/* No path leaks a descriptor. */
	for (unsigned i = 0; i < 50; i++) {
		(void)p9c_walk(c, 0, 1, "d/none");
		(void)p9c_walk(c, 0, 0, "f/none");
		(void)p9c_attach(c, 0, 0, "d");
		cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
		(void)p9c_open(c, 1, O_RDWR | O_DIRECTORY);
		cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
		p9c_u32(c, 1);
		cr_assert_eq(p9c_call(c, P9_TREMOVE), 0);
		p9t_put("root/f", "again");
	}
	cr_assert_leq(open_fds(), before + 1, "(the workers' own aside)");
}

Test(p9, walk_of_too_many_names)
{
	p9c_u32(c, 0);
	p9c_u32(c, 1);
	p9c_u16(c, 17);
	for (int i = 0; i < 17; i++)
		p9c_str(c, "d");
	cr_assert_eq(p9c_call(c, P9_TWALK), -EINVAL);
	p9c_u32(c, 0);
	p9c_u32(c, 1);
	p9c_u16(c, 0xffff);
	cr_assert_eq(p9c_call(c, P9_TWALK), -EINVAL);
}

Test(p9, locks_are_bounded)
{
	int rc = 0;
	unsigned n;

	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
	for (n = 0; n < 10000 && rc == 0; n++) {
		p9c_u32(c, 1);
		p9c_u8(c, 1);
		p9c_u32(c, 0);
		p9c_u64(c, 2 * n);
		p9c_u64(c, 1);
		p9c_u32(c, 1);
		p9c_str(c, "x");
		rc = p9c_call(c, P9_TLOCK);
	}
	cr_assert_eq(rc, -ENOLCK);
	cr_assert_leq(n, P9_LOCKS_MAX + 1);
}

/* ---- read-only ---------------------------------------------------------------------------------------- */

Test(p9_start, readonly)
{
	static const uint8_t calls[] = {P9_TMKDIR, P9_TSYMLINK, P9_TMKNOD,    P9_TLCREATE,
					P9_TLINK,  P9_TRENAME,	P9_TUNLINKAT, P9_TRENAMEAT};
	char buf[8] = "";

	c = p9c_new(p9t_at("root"), true, true);
	cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
	for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
		cr_assert_eq(name_call(calls[i], "f", 1), -EROFS, "type %u", calls[i]);
	cr_assert_eq(p9c_open(c, 1, O_RDWR), -EROFS);
	cr_assert_eq(p9c_open(c, 1, O_WRONLY), -EROFS);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY | O_TRUNC), -EROFS);
	p9c_u32(c, 1);
	cr_assert_eq(p9c_call(c, P9_TSETATTR), -EROFS);
	p9c_u32(c, 1);
	cr_assert_eq(p9c_call(c, P9_TXATTRCREATE), -EROFS);
	cr_assert_eq(p9c_open(c, 1, O_RDONLY), 0);
	cr_assert_eq(p9c_read(c, 1, 0, buf, 8), 6);
	cr_assert_eq(p9c_write(c, 1, 0, "x", 1), -EBADF);
	p9c_u32(c, 1);
	cr_assert_eq(p9c_call(c, P9_TREMOVE), -EROFS);
	cr_assert_eq(p9c_clunk(c, 1), -EBADF, "the fid is gone all the same");
	cr_assert_eq(access(p9t_at("root/f"), F_OK), 0);
}

/* ---- concurrency --------------------------------------------------------------------------------------- */

/* Clunks, reads, writes and re-opens of one fid at once: any order, no fault, one answer each. */
Test(p9, requests_race_on_one_fid)
{
	struct fg_queue *q = fg_q(c->g, 0);

	for (unsigned round = 0; round < 60; round++) {
		uint64_t r;

		fg_alloc_reset(c->g);
		c->tbuf = fg_alloc(c->g, P9C_BUF, 8);
		c->rbuf = fg_alloc(c->g, P9C_BUF, 8);
		(void)p9c_clunk(c, 1);
		cr_assert_eq(p9c_walk(c, 0, 1, "f"), 0);
		if (round & 1)
			cr_assert_eq(p9c_open(c, 1, O_RDWR), 0);
		for (unsigned i = 0; i < 24; i++) {
			static const uint8_t types[] = {P9_TREAD,  P9_TLOPEN, P9_TGETATTR,
							P9_TWRITE, P9_TCLUNK, P9_TFSYNC};
			uint8_t t = types[(i * 5 + round) % 6];

			p9c_u32(c, 1);
			if (t == P9_TLOPEN)
				p9c_u32(c, O_RDWR);
			else if (t == P9_TGETATTR)
				p9c_u64(c, 0x7ff);
			else if (t == P9_TFSYNC)
				p9c_u32(c, 0);
			if (t == P9_TREAD || t == P9_TWRITE) {
				p9c_u64(c, 0);
				p9c_u32(c, 6);
			}
			if (t == P9_TWRITE)
				p9c_bytes(c, "inside", 6);
			(void)p9c_post(c, t, (uint16_t)(100 + i), &r);
		}
		(void)fg_kick(q);
		for (unsigned i = 0; i < 24; i++)
			cr_assert_geq(fg_take_wait(q, NULL), 0);
	}
}

Test(p9, flush_answers_after_its_request)
{
	struct fg_queue *q = fg_q(c->g, 0);
	uint64_t r[3];
	uint16_t head[3];
	uint8_t type;

	for (unsigned round = 0; round < 50; round++) {
		int first = -1, second = -1, third = -1;

		fg_alloc_reset(c->g);
		p9c_u32(c, 0);
		p9c_u64(c, 0x7ff);
		head[0] = p9c_post(c, P9_TGETATTR, 70, &r[0]);
		p9c_u16(c, 70);
		head[1] = p9c_post(c, P9_TFLUSH, 71, &r[1]);
		p9c_u16(c, 71);
		head[2] = p9c_post(c, P9_TFLUSH, 72, &r[2]);
		(void)fg_kick(q);
		for (int i = 0; i < 3; i++) {
			int h = fg_take_wait(q, NULL);

			cr_assert_geq(h, 0);
			if (h == head[0])
				first = i;
			else if (h == head[1])
				second = i;
			else
				third = i;
		}
		cr_assert(first == 0 && second == 1 && third == 2, "%d %d %d", first, second,
			  third);
		fg_get(c->g, r[1] + 4, &type, 1);
		cr_assert_eq(type, P9_TFLUSH + 1);
	}
	c->tbuf = fg_alloc(c->g, P9C_BUF, 8);
	c->rbuf = fg_alloc(c->g, P9C_BUF, 8);
	p9c_u16(c, 4711);
	cr_assert_eq(p9c_call(c, P9_TFLUSH), 0, "of what is not there");
}

Test(p9, reset_with_requests_on_their_way)
{
	int before = open_fds();

	for (unsigned round = 0; round < 20; round++) {
		uint64_t r;
		unsigned irqs;

		fg_alloc_reset(c->g);
		for (unsigned i = 0; i < 60; i++) {
			p9c_u32(c, 0);
			p9c_u32(c, 10 + i);
			p9c_u16(c, 1);
			p9c_str(c, "f");
			(void)p9c_post(c, P9_TWALK, (uint16_t)i, &r);
		}
		(void)fg_kick(fg_q(c->g, 0));
		irqs = fg_irqs(c->g);
		fg_reset(c->g);
		while (c->dev->running)
			cr_assert_eq(loop_step(c->loop, true), 0);
		cr_assert_eq(fg_irqs(c->g), irqs);
		cr_assert_eq(fg_start(c->g, FG_ALL), 0);
		c->tbuf = fg_alloc(c->g, P9C_BUF, 8);
		c->rbuf = fg_alloc(c->g, P9C_BUF, 8);
		cr_assert_eq(p9c_attach(c, 0, 0, ""), -EPROTO, "the session is over");
		cr_assert_eq(p9c_version(c, P9C_BUF, "9P2000.L"), 0);
		cr_assert_eq(p9c_attach(c, 0, 0, ""), 0);
	}
	cr_assert_leq(open_fds(), before);
}

/* ---- construction ---------------------------------------------------------------------------------------- */

Test(p9_start, refusals)
{
	struct p9_config cfg = {
	    .root_fd = open(p9t_at("secret"), O_RDONLY), .proc_fd = -1, .tag = "t"};
	struct virtio_dev *dev;
	struct err e = {0};

	cr_assert_eq(p9_new(&dev, "9p0", &cfg, &e), -ENOTDIR);
	cr_assert_eq(fcntl(cfg.root_fd, F_GETFD), -1, "closed on failure");
	e = (struct err){0};
	cfg.root_fd = open(p9t_at("root"), O_PATH);
	cfg.tag = "a-tag-that-is-one-byte-too-long-for-9p";
	cr_assert_eq(p9_new(&dev, "9p0", &cfg, &e), -EINVAL);
	cr_assert(strstr(e.msg, "tag"));
}

static _Atomic int inits;

static void count_init(void *arg)
{
	inits += *(int *)arg;
}

Test(p9_start, shared_workers)
{
	int one = 1;
	struct p9_pool_config pc = {.workers = 3, .thread_init = count_init, .thread_arg = &one};
	struct p9_pool *pool;
	struct err e = {0};

	cr_assert_eq(p9_pool_new(&pool, &pc, &e), 0);
	cr_assert_eq(inits, 1, "one thread at once, before anything is given up");
	for (int i = 0; i < 3; i++) {
		struct p9_config cfg = {.root_fd = open(p9t_at("root"), O_PATH),
					.proc_fd = -1,
					.tag = "t",
					.pool = pool};
		struct virtio_dev *dev;

		cr_assert_eq(p9_new(&dev, "9p0", &cfg, &e), 0);
		cr_assert_eq(dev->cfg[0], 1);
		cr_assert_eq(dev->cfg[2], 't');
		virtio_free(dev);
	}
	p9_pool_free(pool);
}
