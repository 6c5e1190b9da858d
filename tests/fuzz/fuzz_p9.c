/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile 9p client: requests with arguments from small sets (so that they meet) and from raw bytes
 * (so that they are wrong), several at once, on a tree that is emptied after each input. Beside the
 * tree lies a file that must stay as it is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/p9_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define OPS_MAX	  64u
#define BATCH_MAX 12u
#define ROOM	  1024u

static char top[64];
static int top_fd, root_fd;
static struct p9c *c;

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_p9: %s\n", why);
	abort();
}

static void seed_file(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("making a file");
	(void)close(fd);
}

static void empty_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return;
	(void)fchmod(fd, 0700);
	d = fdopendir(fd);
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(fd, e->d_name, 0) == 0)
			continue;
		empty_dir(fd, e->d_name);
		(void)unlinkat(fd, e->d_name, AT_REMOVEDIR);
	}
	(void)closedir(d);
}

/* The tree is empty again, and what lies beside it untouched. */
static void check_and_clean(void)
{
	char text[16] = "";
	int fd = openat(top_fd, "secret", O_RDONLY);
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	if (fd < 0 || read(fd, text, sizeof(text)) != 6 || memcmp(text, "secret", 6) != 0)
		die("the file beside the tree was changed");
	(void)close(fd);
	d = opendir(top);
	while (d && (e = readdir(d)))
		n++;
	if (n != 4)
		die("something was made beside the tree");
	(void)closedir(d);
	empty_dir(top_fd, "root");
}

static void clean_up(void)
{
	p9c_free(c);
	empty_dir(top_fd, "root");
	(void)unlinkat(top_fd, "root", AT_REMOVEDIR);
	(void)unlinkat(top_fd, "secret", 0);
	(void)rmdir(top);
}

static void start(void)
{
	char root[80];

	(void)umask(022);
	(void)snprintf(top, sizeof(top), "%s/husk-fuzz-XXXXXX",
		       access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(top))
		die("no temporary directory");
	top_fd = open(top, O_RDONLY | O_DIRECTORY);
	(void)snprintf(root, sizeof(root), "%s/root", top);
	if (mkdir(root, 0755) < 0)
		die("no tree");
	root_fd = open(root, O_RDONLY | O_DIRECTORY);
	seed_file(top_fd, "secret", "secret");
	c = p9c_new(root, false, false);
	(void)atexit(clean_up);
}

static void put_name(struct fuzz_in *in)
{
	static const char *const names[] = {"a", "b", "dir",	   "link", "up",  "fifo", "..",
					    ".", "",  "../secret", "a/b",  "new", "/",	  "secret"};
	uint8_t v = fz_u8(in);
	uint8_t raw[300];

	if (v < 0xf0) {
		p9c_str(c, names[v % ARRAY_LEN(names)]);
		return;
	}
	v = v == 0xff ? 255 : v & 7;
	fz_bytes(in, raw, v);
	p9c_u16(c, v == 7 ? 300 : v);
	p9c_bytes(c, raw, v);
}

static void put_fid(struct fuzz_in *in)
{
	uint8_t v = fz_u8(in);

	p9c_u32(c, v < 0xf8 ? v % 8 : v == 0xff ? P9_NOFID : fz_u32(in));
}

static void put_flags(struct fuzz_in *in)
{
	static const uint32_t flags[] = {O_RDONLY, O_RDWR, O_WRONLY | O_TRUNC, O_RDWR | O_APPEND,
					 O_DIRECTORY};
	uint8_t v = fz_u8(in);

	p9c_u32(c, v < 0xe0 ? flags[v % ARRAY_LEN(flags)] : fz_u32(in));
}

/* The arguments of a request, one letter each: f fid, n name, o open flags, 1 2 4 8 integers. */
static const struct {
	uint8_t type;
	const char *args;
} calls[] = {
    {P9_TWALK, "ff1n"},	       {P9_TWALK, "ff0"},     {P9_TLOPEN, "fo"},
    {P9_TLCREATE, "fno22"},    {P9_TREAD, "f22"},     {P9_TWRITE, "f2w"},
    {P9_TCLUNK, "f"},	       {P9_TGETATTR, "f8"},   {P9_TSETATTR, "f422288888"},
    {P9_TREADDIR, "f22"},      {P9_TMKDIR, "fn22"},   {P9_TSYMLINK, "fnn2"},
    {P9_TMKNOD, "fn2222"},     {P9_TLINK, "ffn"},     {P9_TRENAME, "ffn"},
    {P9_TRENAMEAT, "fnfn"},    {P9_TUNLINKAT, "fn4"}, {P9_TREMOVE, "f"},
    {P9_TSTATFS, "f"},	       {P9_TREADLINK, "f"},   {P9_TXATTRWALK, "ffx"},
    {P9_TXATTRCREATE, "fx22"}, {P9_TFSYNC, "f2"},     {P9_TLOCK, "fb4882n"},
    {P9_TGETLOCK, "fb882n"},   {P9_TATTACH, "ffnn4"}, {P9_TFLUSH, "t"},
    {P9_TWALK, "ff2nn"},       {P9_TWALK, "ff3nnn"},  {P9_TVERSION, "v"},
};

static void put_arg(struct fuzz_in *in, char kind)
{
	static const char *const xattrs[] = {
	    "user.a", "user.b", "", "trusted.t", "system.posix_acl_access", "security.x"};
	uint8_t buf[64];

	switch (kind) {
	case 'f':
		put_fid(in);
		return;
	case 'n':
		put_name(in);
		return;
	case 'o':
		put_flags(in);
		return;
	case 'x':
		p9c_str(c, xattrs[fz_u8(in) % ARRAY_LEN(xattrs)]);
		return;
	case 'w': /* offset's upper half, count and data */
		p9c_u32(c, 0);
		p9c_u32(c, fz_u8(in) % 80);
		fz_bytes(in, buf, sizeof(buf));
		p9c_bytes(c, buf, sizeof(buf));
		return;
	case 'b':
		p9c_u8(c, fz_u8(in) % 4);
		return;
	case 't':
		p9c_u16(c, fz_u8(in) % BATCH_MAX);
		return;
	case 'v':
		p9c_u32(c, 8192 + fz_u8(in));
		p9c_str(c, "9P2000.L");
		return;
	case '2': /* small */
		p9c_u32(c, fz_u16(in));
		return;
	case '4':
		p9c_u32(c, fz_u32(in));
		return;
	case '8':
		p9c_u64(c, fz_u64(in));
		return;
	default: /* a 16-bit count */
		p9c_u16(c, (uint16_t)(kind - '0'));
		return;
	}
}

/* '2' in Twalk's counts is a digit, elsewhere a small integer: so counts come right behind "ff". */
static void put_args(struct fuzz_in *in, uint8_t type, const char *args)
{
	for (unsigned i = 0; args[i]; i++) {
		if (type == P9_TWALK && i == 2)
			p9c_u16(c, (uint16_t)(args[i] - '0'));
		else if (type == P9_TREAD && i == 1)
			p9c_u64(c, fz_u16(in));
		else if (type == P9_TREADDIR && i == 1)
			p9c_u64(c, fz_u8(in) & 1 ? fz_u64(in) : 0);
		else if (type == P9_TXATTRCREATE && i == 2)
			p9c_u64(c, fz_u8(in) ? fz_u8(in) : fz_u64(in));
		else if (args[i] == '1')
			p9c_u16(c, 1);
		else
			put_arg(in, args[i]);
	}
}

static void one(struct fuzz_in *in, unsigned tag)
{
	uint8_t v = fz_u8(in);
	unsigned i = v % ARRAY_LEN(calls);
	uint64_t t, r = fg_alloc(c->g, ROOM, 1);
	uint32_t room = ROOM, len;
	uint8_t spoil;

	put_args(in, calls[i].type, calls[i].args);
	/* Now and then a field that is somebody else's: lengths, types, room for the reply. */
	spoil = fz_u8(in);
	len = (uint32_t)(P9_HDR + c->t_len);
	c->t_len = 0;
	for (unsigned b = 0; b < 4; b++)
		c->t[b] = (uint8_t)(len >> (8 * b));
	c->t[4] = calls[i].type;
	c->t[5] = (uint8_t)tag;
	c->t[6] = 0;
	if (spoil >= 0xf0)
		c->t[fz_u16(in) % len] = fz_u8(in);
	else if (spoil >= 0xe8)
		len = MAX(P9_HDR, len - spoil % 8);
	else if (spoil >= 0xe0)
		room = P9_RIO_HDR + fz_u8(in);
	t = fg_bytes(c->g, c->t, len);
	(void)fg_add(fg_q(c->g, 0), (struct fg_buf[]){{t, len, false}, {r, room, true}}, 2, 0);
}

static void finish(unsigned cnt)
{
	(void)fg_kick(fg_q(c->g, 0));
	while (cnt--) {
		if (fg_take_wait(fg_q(c->g, 0), NULL) < 0)
			die("a request was not answered");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};
	unsigned batch = 0;

	if (!c)
		start();
	seed_file(root_fd, "a", "inside");
	if (mkdirat(root_fd, "dir", 0755) < 0 || symlinkat("../secret", root_fd, "link") < 0 ||
	    symlinkat("..", root_fd, "up") < 0 || mkfifoat(root_fd, "fifo", 0644) < 0)
		die("seeding the tree");
	fg_alloc_reset(c->g);
	c->tbuf = fg_alloc(c->g, P9C_BUF, 8);
	c->rbuf = fg_alloc(c->g, P9C_BUF, 8);
	if (p9c_version(c, 65536, "9P2000.L") < 0 || p9c_attach(c, 0, 0, "") < 0)
		die("no session");
	for (unsigned i = 0; i < OPS_MAX && in.left; i++) {
		one(&in, batch++);
		if (batch == BATCH_MAX || fz_u8(&in) < 0xc0) {
			finish(batch);
			batch = 0;
		}
	}
	finish(batch);
	if (fz_u8(&in) & 1) {
		fg_reset(c->g);
		while (c->dev->running)
			(void)loop_step(c->loop, true);
		if (fg_start(c->g, FG_ALL) < 0)
			die("start after a reset");
	} else if (p9c_version(c, 65536, "9P2000.L") < 0) {
		die("no new session");
	}
	check_and_clean();
	return 0;
}
