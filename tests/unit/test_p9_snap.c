/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of a 9p device in use: files that are open, attributes half read, locks and requests on their
 * way go on with a new device; what would be lost, and what has changed meanwhile, is refused by name.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/lib/p9_client.h"
#include "virtio/mmio.h"
#include "virtio/snap.h"

static struct p9c *c;
static struct err e;

static void setup(void)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};

	log_setup(&quiet);
	p9t_begin();
	cr_assert_eq(mkdir(p9t_at("d"), 0755), 0);
	cr_assert_eq(mkdir(p9t_at("d/e"), 0755), 0);
	p9t_put("d/e/f", "0123456789");
	p9t_put("other", "other");
	c = p9c_new(p9t_dir(), false, true);
}

static void teardown(void)
{
	p9c_free(c);
	p9t_end();
}

TestSuite(p9_snap, .init = setup, .fini = teardown, .timeout = 120);

static void move(void)
{
	struct buf b = fg_save(c->g, c->dev);

	cr_assert_eq(p9c_move(c, p9c_device(p9t_dir(), false), &b, &e), 0, "%s", e.msg);
	buf_free(&b);
}

static void set(void *arg)
{
	*(bool *)arg = true;
}

static bool is_set(void *arg)
{
	return *(bool *)arg;
}

/* The save is refused with a sentence that says @why; the device goes on. */
static void refuses(const char *why)
{
	struct buf b = {0};
	bool still = false;

	e = (struct err){0};
	virtio_freeze(c->dev, set, &still);
	cr_assert(fg_run_until(c->g, is_set, &still));
	cr_assert_eq(virtio_save(c->dev, &b, &e), -EBUSY);
	cr_assert(strstr(e.msg, why), "%s", e.msg);
	virtio_thaw(c->dev);
	buf_free(&b);
}

/* 1 to 6: a path, open files, a directory, attributes to read and to write. */
static void use(void)
{
	cr_assert_eq(setxattr(p9t_at("other"), "user.a", "value", 5, 0), 0);
	cr_assert_eq(p9c_walk(c, 0, 1, "d/e"), 0);
	cr_assert_eq(p9c_walk(c, 0, 2, "d/e/f"), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDWR), 0);
	cr_assert_eq(p9c_walk(c, 0, 3, "other"), 0);
	cr_assert_eq(p9c_open(c, 3, O_WRONLY | 02000 /* append */), 0);
	cr_assert_eq(p9c_walk(c, 0, 4, "d"), 0);
	cr_assert_eq(p9c_open(c, 4, O_RDONLY), 0);
	cr_assert_eq(p9c_walk(c, 0, 7, "other"), 0);
	p9c_u32(c, 7);
	p9c_u32(c, 5);
	p9c_str(c, "user.a");
	cr_assert_eq(p9c_call(c, P9_TXATTRWALK), 0);
	cr_assert_eq(p9c_walk(c, 0, 6, "other"), 0);
	p9c_u32(c, 6);
	p9c_str(c, "user.b");
	p9c_u64(c, 4);
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TXATTRCREATE), 0);
	cr_assert_eq(p9c_write(c, 6, 0, "ab", 2), 2);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 1, 100, 50, 10), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 2, 0, 300, 0, 11), 0);
}

Test(p9_snap, what_a_guest_uses_goes_on)
{
	char buf[64] = "";
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120, .l_len = 1};
	int fd;

	use();
	move();
	move(); /* what was loaded can be saved */
	cr_assert_eq(p9c_walk(c, 1, 10, "f"), 0);
	cr_assert_eq(p9c_read(c, 2, 3, buf, 4), 4);
	cr_assert_arr_eq(buf, "3456", 4);
	cr_assert_eq(p9c_write(c, 2, 0, "AB", 2), 2);
	cr_assert_eq(p9c_write(c, 3, 0, "X", 1), 1);
	cr_assert_lt(p9c_read(c, 3, 0, buf, 4), 0, "opened for writing only");
	cr_assert_lt(p9c_write(c, 4, 0, "X", 1), 0, "a directory");
	p9c_u32(c, 4);
	p9c_u64(c, 0);
	p9c_u32(c, 4096);
	cr_assert_eq(p9c_call(c, P9_TREADDIR), 0);
	cr_assert_gt(p9c_r32(c), 60, "three entries");
	cr_assert_eq(p9c_read(c, 5, 0, buf, 10), 5);
	cr_assert_arr_eq(buf, "value", 5);
	cr_assert_eq(p9c_write(c, 6, 2, "cd", 2), 2);
	cr_assert_eq(p9c_clunk(c, 6), 0);
	cr_assert_eq(getxattr(p9t_at("other"), "user.b", buf, sizeof(buf)), 4);
	cr_assert_arr_eq(buf, "abcd", 4);
	/* Locks: among the guest's owners, and on the host. */
	cr_assert_eq(p9c_open(c, 10, O_RDWR), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 10, 0, 149, 1, 12), 1);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 10, 0, 150, 1, 12), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 10, 1, 1000, 1, 12), 1);
	fd = open(p9t_at("d/e/f"), O_RDWR);
	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &fl), -1);
	cr_assert_eq(p9c_clunk(c, 2), 0);
	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &fl), 0);
	(void)close(fd);
	fd = open(p9t_at("other"), O_RDONLY);
	cr_assert_eq(read(fd, buf, sizeof(buf)), 6);
	cr_assert_arr_eq(buf, "otherX", 6, "appended");
	(void)close(fd);
}

Test(p9_snap, requests_on_their_way)
{
	uint64_t reply;
	char buf[16];

	cr_assert_eq(p9c_walk(c, 0, 2, "d/e/f"), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDWR), 0);
	for (unsigned round = 0, n = 0; round < 5; round++) {
		unsigned begun = n;

		for (unsigned i = 0; i < 16; i++, n++) {
			p9c_u32(c, 2);
			p9c_u64(c, n);
			p9c_u32(c, 1);
			p9c_u8(c, (uint8_t)('a' + n % 26));
			(void)p9c_post(c, P9_TWRITE, (uint16_t)n, &reply);
			if (i == 8)
				(void)fg_kick(fg_q(c->g, 0));
		}
		move();
		for (unsigned i = begun; i < n; i++)
			cr_assert_geq(fg_take_wait(fg_q(c->g, 0), NULL), 0);
		cr_assert_eq(fg_take(fg_q(c->g, 0), NULL), -1);
		for (unsigned i = begun; i < n; i++) {
			cr_assert_eq(p9c_read(c, 2, i, buf, 1), 1);
			cr_assert_eq(buf[0], 'a' + (int)(i % 26));
		}
	}
}

Test(p9_snap, a_file_without_a_name_is_refused)
{
	cr_assert_eq(p9c_walk(c, 0, 2, "d/e/f"), 0);
	cr_assert_eq(p9c_open(c, 2, O_RDWR), 0);
	cr_assert_eq(unlink(p9t_at("d/e/f")), 0);
	refuses("has no name any more: ");
	cr_assert(strstr(e.msg, "d/e/f"), "%s", e.msg);
	/* Another one of that name is not it. */
	p9t_put("d/e/f", "new");
	refuses("has no name any more");
	cr_assert_eq(p9c_clunk(c, 2), 0);
	move();
	cr_assert_eq(p9c_walk(c, 0, 2, "d/e/f"), 0);
}

static void fails_after(void (*change)(void), int want, const char *why)
{
	struct buf b = fg_save(c->g, c->dev);

	change();
	e = (struct err){0};
	cr_assert_eq(p9c_move(c, p9c_device(p9t_dir(), false), &b, &e), want, "%s", e.msg);
	cr_assert(strstr(e.msg, why), "%s", e.msg);
	buf_free(&b);
}

static void replace(void)
{
	cr_assert_eq(unlink(p9t_at("d/e/f")), 0);
	p9t_put("d/e/f", "0123456789");
}

Test(p9_snap, a_replaced_file_is_refused)
{
	use();
	fails_after(replace, -ESTALE, "'d/e/f' is not the file any more");
}

static void take_away(void)
{
	cr_assert_eq(rename(p9t_at("d/e"), p9t_at("gone")), 0);
}

Test(p9_snap, a_file_that_went_is_refused)
{
	cr_assert_eq(p9c_walk(c, 0, 2, "d/e/f"), 0);
	fails_after(take_away, -ESTALE, "'d/e/f' is not the file any more");
}

static void link_out(void)
{
	char target[64];

	/* The same inode, but the way to it leads through a link. */
	take_away();
	(void)snprintf(target, sizeof(target), "%s/gone", p9t_dir());
	cr_assert_eq(symlink(target, p9t_at("d/e")), 0);
}

Test(p9_snap, no_way_through_a_link)
{
	cr_assert_eq(p9c_walk(c, 0, 2, "d/e/f"), 0);
	fails_after(link_out, -ELOOP, "'d/e/f'");
}

Test(p9_snap, a_lock_that_somebody_has_taken)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct fg *copy;
	struct snap_rd r;
	struct buf b;
	int theirs = open(p9t_at("other"), O_RDWR);

	cr_assert_geq(theirs, 0);
	cr_assert_eq(p9c_walk(c, 0, 3, "other"), 0);
	cr_assert_eq(p9c_open(c, 3, O_RDWR), 0);
	cr_assert_eq(p9c_lock(c, P9_TLOCK, 3, 1, 0, 0, 10), 0);
	b = fg_save(c->g, c->dev);
	copy = fg_copy(c->g);
	fg_shut(c->g, c->dev);
	fg_free(c->g);
	c->g = copy;
	cr_assert_eq(fcntl(theirs, F_OFD_SETLK, &fl), 0, "free while nobody runs");
	c->dev = p9c_device(p9t_dir(), false);
	fg_plug(c->g, c->dev, c->loop);
	r = (struct snap_rd){b.data, b.len};
	e = (struct err){0};
	cr_assert_eq(virtio_load(c->dev, &r, &e), -EBUSY);
	cr_assert(strstr(e.msg, "somebody else has locked"), "%s", e.msg);
	buf_free(&b);
	(void)close(theirs);
}

/* ---- bad states ---------------------------------------------------------------------------------------- */

static int try_load(const uint8_t *p, size_t len, bool readonly)
{
	static struct vmmio slot;
	struct virtio_dev *d = p9c_device(p9t_dir(), readonly);
	struct snap_rd r = {p, len};
	struct err why = {0};
	int rc;

	/* The same memory will do: the device that was saved stands still. */
	vmmio_init(&slot, 1, NULL, NULL);
	vmmio_plug(&slot, d, fg_mem(c->g), c->loop);
	rc = virtio_load(d, &r, &why);
	if (rc < 0) {
		cr_assert(why.code < 0 && why.msg[0]);
		virtio_free(d);
	} else {
		virtio_thaw(d);
		fg_shut(c->g, d);
	}
	return rc;
}

Test(p9_snap, broken_states_are_refused_or_harmless)
{
	struct buf b;

	use();
	b = fg_save(c->g, c->dev);
	cr_assert_eq(try_load(b.data, b.len, true), -EPROTO,
		     "open for writing on a read-only share");
	for (size_t i = 0; i < b.len; i++) {
		cr_assert_lt(try_load(b.data, i, false), 0, "cut off at %zu", i);
		b.data[i] ^= (uint8_t)(1u << (i % 8));
		(void)try_load(b.data, b.len, false);
		b.data[i] ^= (uint8_t)(1u << (i % 8));
	}
	buf_free(&b);
	virtio_thaw(c->dev);
}

Test(p9_snap, another_share)
{
	struct p9_config cfg = {.proc_fd = -1, .tag = "t"};
	struct virtio_dev *to;
	struct snap_rd r;
	struct buf b;

	b = fg_save(c->g, c->dev);
	cfg.root_fd = open(p9t_dir(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(p9_new(&to, "9p0", &cfg, &e), 0, "%s", e.msg);
	virtio_attach(to, fg_mem(c->g), c->loop, NULL, NULL);
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(virtio_load(to, &r, &e), -EINVAL, "its configuration has another length");
	virtio_free(to);
	buf_free(&b);
	virtio_thaw(c->dev);
}

/* Replaces the first @from, of the same length, in a saved state, and loads that. */
static int forged(const char *from, const char *to, size_t len)
{
	struct buf b = fg_save(c->g, c->dev);
	uint8_t *p = memmem(b.data, b.len, from, len);
	int rc;

	cr_assert(p);
	memcpy(p, to, len);
	rc = try_load(b.data, b.len, false);
	buf_free(&b);
	virtio_thaw(c->dev);
	return rc;
}

Test(p9_snap, no_path_leaves_the_share)
{
	cr_assert_eq(p9c_walk(c, 0, 1, "d/e/f"), 0);
	cr_assert_eq(forged("d/e/f", "../..", 5), -EXDEV);
	cr_assert_eq(forged("d/e/f", "/root", 5), -EXDEV);
	cr_assert_eq(forged("d/e/f", "other", 5), -ESTALE);
	cr_assert_eq(forged("d/e/f", "d\0e/f", 5), -EPROTO);
}

Test(p9_snap, no_attribute_that_a_guest_may_not_set)
{
	cr_assert_eq(p9c_walk(c, 0, 6, "other"), 0);
	p9c_u32(c, 6);
	p9c_str(c, "security.x");
	p9c_u64(c, 4);
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TXATTRCREATE), 0);
	cr_assert_eq(forged("security.x", "trusted.ab", 10), -EPROTO);
	cr_assert_eq(forged("security.x", "security.y", 10), 0);
}
