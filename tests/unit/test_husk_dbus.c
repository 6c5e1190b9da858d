/* SPDX-License-Identifier: Apache-2.0 */
/* D-Bus messages: what is written has the protocol's bytes, what is read stays in its bounds. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/dbus.h"
#include "runtime/scope.h"

Test(dbus_wire, bytes_of_values)
{
	/* y 1, padding, u 2, padding, t 3, s "ab", array of u */
	static const uint8_t want[] = {1, 0, 0,	  0,   2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0,
				       0, 0, 'a', 'b', 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0};
	CLEANUP(dbus_out_free) struct dbus_out o = {0};
	size_t mark;

	dbus_put_u8(&o, 1);
	dbus_put_u32(&o, 2);
	dbus_put_u64(&o, 3);
	dbus_put_str(&o, "ab");
	mark = dbus_array_begin(&o, 4);
	dbus_put_u32(&o, 5);
	dbus_put_u32(&o, 6);
	dbus_array_end(&o, mark, 4);
	cr_assert(eq(sz, o.len, sizeof(want)));
	cr_expect_arr_eq(o.buf, want, sizeof(want));
}

Test(dbus_wire, array_length_is_without_the_padding)
{
	CLEANUP(dbus_out_free) struct dbus_out o = {0};
	size_t mark = dbus_array_begin(&o, 8);
	uint32_t n;

	cr_expect(eq(sz, o.len, 8)); /* the length, and padding up to the first element */
	dbus_put_u64(&o, 1);
	dbus_array_end(&o, mark, 8);
	memcpy(&n, o.buf, 4);
	cr_expect(eq(u32, n, 8));
}

Test(dbus_wire, too_large_fails)
{
	CLEANUP(dbus_out_free) struct dbus_out o = {0};
	auto_free char *s = malloc(DBUS_MSG_MAX);

	memset(s, 'x', DBUS_MSG_MAX - 1);
	s[DBUS_MSG_MAX - 1] = '\0';
	dbus_put_str(&o, s);
	cr_expect(o.failed);
}

static void put_message(struct dbus_out *m, uint8_t type, uint32_t serial, uint32_t reply,
			const char *member, const char *sig, const struct dbus_out *body)
{
	size_t mark;

	dbus_put_u8(m, 'l');
	dbus_put_u8(m, type);
	dbus_put_u8(m, 0);
	dbus_put_u8(m, 1);
	dbus_put_u32(m, body ? (uint32_t)body->len : 0);
	dbus_put_u32(m, serial);
	mark = dbus_array_begin(m, 8);
	if (reply) {
		dbus_put_u8(m, 5);
		dbus_put_sig(m, "u");
		dbus_put_u32(m, reply);
	}
	if (member) {
		dbus_put_align(m, 8);
		dbus_put_u8(m, 2);
		dbus_put_sig(m, "s");
		dbus_put_str(m, "a.b");
		dbus_put_align(m, 8);
		dbus_put_u8(m, type == DBUS_ERROR ? 4 : 3);
		dbus_put_sig(m, "s");
		dbus_put_str(m, member);
	}
	if (sig) {
		dbus_put_align(m, 8);
		dbus_put_u8(m, 8);
		dbus_put_sig(m, "g");
		dbus_put_sig(m, sig);
	}
	/* A field that nobody knows, of an awkward type. */
	dbus_put_align(m, 8);
	dbus_put_u8(m, 99);
	dbus_put_sig(m, "a(su)");
	{
		size_t inner = dbus_array_begin(m, 8);

		dbus_put_str(m, "x");
		dbus_put_u32(m, 7);
		dbus_array_end(m, inner, 8);
	}
	dbus_array_end(m, mark, 8);
	dbus_put_align(m, 8);
	if (body)
		for (size_t i = 0; i < body->len; i++)
			dbus_put_u8(m, body->buf[i]);
}

Test(dbus_wire, message_round_trip)
{
	CLEANUP(dbus_out_free) struct dbus_out body = {0}, m = {0};
	struct dbus_msg got;
	size_t len = 0;

	dbus_put_u32(&body, 42);
	dbus_put_str(&body, "job");
	put_message(&m, DBUS_SIGNAL, 9, 3, "Removed", "us", &body);
	cr_assert(eq(int, dbus_msg_len(m.buf, &len), 0));
	cr_expect(eq(sz, len, m.len));
	cr_assert(eq(int, dbus_msg_parse(&got, m.buf, m.len), 0));
	cr_expect(eq(u32, got.serial, 9));
	cr_expect(eq(u32, got.reply_serial, 3));
	cr_expect_str_eq(got.iface, "a.b");
	cr_expect_str_eq(got.member, "Removed");
	cr_expect_str_eq(got.sig, "us");
	cr_expect(eq(u32, dbus_get_u32(&got.body), 42));
	cr_expect_str_eq(dbus_get_str(&got.body), "job");
	cr_expect(not(got.body.failed));
	(void)dbus_get_u8(&got.body);
	cr_expect(got.body.failed);
	/* Every shorter one is none. */
	for (size_t n = 0; n < m.len; n++) {
		auto_free uint8_t *copy = malloc(n + 1);

		memcpy(copy, m.buf, n);
		cr_expect(eq(int, dbus_msg_parse(&got, copy, n), -EPROTO), "%zu bytes", n);
	}
}

Test(dbus_wire, call_can_be_read)
{
	struct dbus_call c = {
	    .serial = 1, .dest = "d.e", .path = "/p", .iface = "i.f", .member = "M", .sig = "s"};
	CLEANUP(dbus_out_free) struct dbus_out m = {0};
	struct dbus_msg got;

	dbus_put_call(&m, &c, 6);
	cr_expect(eq(sz, m.len % 8, 0));
	dbus_put_str(&m, "a");
	cr_assert(eq(int, dbus_msg_parse(&got, m.buf, m.len), 0));
	cr_expect(eq(int, got.type, DBUS_CALL));
	cr_expect_str_eq(got.path, "/p");
	cr_expect_str_eq(got.member, "M");
	cr_expect_str_eq(dbus_get_str(&got.body), "a");
}

Test(dbus_wire, other_byte_order)
{
	static const uint8_t m[] = {'B', 2, 0, 1, 0,   0, 0, 4, 0, 0, 0, 7, 0, 0,
				    0,	 8, 5, 1, 'u', 0, 0, 0, 0, 9, 0, 0, 1, 2};
	struct dbus_msg got;

	cr_assert(eq(int, dbus_msg_parse(&got, m, sizeof(m)), 0));
	cr_expect(eq(u32, got.serial, 7));
	cr_expect(eq(u32, got.reply_serial, 9));
	cr_expect(eq(u32, dbus_get_u32(&got.body), 258));
}

static bool skips(const char *sig, const uint8_t *p, size_t len)
{
	auto_free uint8_t *copy = malloc(len + 1); /* so that the sanitizer sees its end */
	struct dbus_in in = {.p = copy, .len = len};

	memcpy(copy, p, len);
	dbus_skip(&in, &sig, 0);
	return !in.failed && !*sig && in.off == len;
}

Test(dbus_wire, skipping)
{
	static const uint8_t zero[64];
	static const uint8_t str[] = {1, 0, 0, 0, 'a', 0}, nul[] = {2, 0, 0, 0, 'a', 0, 0};
	static const uint8_t big[] = {0xff, 0xff, 0xff, 0xff, 0, 0};
	static const uint8_t var[] = {1, 'y', 0, 5}, two[] = {2, 'y', 'y', 0, 5, 5};
	static const uint8_t arr[] = {3, 0, 0, 0, 1, 2, 3}, odd[] = {3, 0, 0, 0, 1, 0, 2, 0};
	static const uint8_t self[] = {1, 'v', 0, 1, 'v', 0, 1, 'y', 0, 9};
	char deep[64];

	cr_expect(skips("t", zero, 8));
	cr_expect(not(skips("t", zero, 7)));
	cr_expect(skips("(yt)", zero, 16));
	cr_expect(skips("a(sv)", zero, 8)); /* empty, with the padding */
	cr_expect(skips("a{sv}", zero, 8));
	cr_expect(skips("s", str, 6));
	cr_expect(not(skips("s", str, 5)));
	cr_expect(not(skips("s", nul, 7))); /* a NUL inside */
	cr_expect(not(skips("s", big, 6)));
	cr_expect(not(skips("ay", big, 6)));
	cr_expect(skips("v", var, 4));
	cr_expect(not(skips("v", two, 6))); /* a variant has one type */
	cr_expect(skips("ay", arr, 7));
	cr_expect(not(skips("an", odd, 8))); /* an element across the array's end */
	cr_expect(skips("v", self, 10));
	cr_expect(not(skips("", zero, 0)));
	cr_expect(not(skips("(", zero, 8)));
	cr_expect(not(skips("()", zero, 8)));
	cr_expect(not(skips("a", zero, 8)));
	cr_expect(not(skips("!", zero, 8)));
	memset(deep, 'a', sizeof(deep) - 2);
	deep[sizeof(deep) - 2] = 'y';
	deep[sizeof(deep) - 1] = '\0';
	cr_expect(not(skips(deep, zero, 4)));
}

/* ---- properties ------------------------------------------------------------------------------ */

/* The open array as text: "Name=value;", sets in hex. */
static void properties(const struct cglimits *l, unsigned version, char *buf, size_t cap)
{
	CLEANUP(dbus_out_free) struct dbus_out o = {0};
	struct dbus_in in;
	size_t n = 0;

	buf[0] = '\0';
	scope_put_limits(&o, l, version);
	in = (struct dbus_in){.p = o.buf, .len = o.len};
	while (in.off < in.len && n < cap) {
		const char *name, *type;

		in.off = ALIGN_UP(in.off, 8);
		name = dbus_get_str(&in);
		type = dbus_get_sig(&in);
		if (!strcmp(type, "t")) {
			n += (size_t)snprintf(buf + n, cap - n, "%s=%llu;", name,
					      (unsigned long long)dbus_get_u64(&in));
		} else {
			uint32_t len = dbus_get_u32(&in);

			cr_assert_str_eq(type, "ay");
			n += (size_t)snprintf(buf + n, cap - n, "%s=", name);
			while (len--)
				n += (size_t)snprintf(buf + n, cap - n, "%02x", dbus_get_u8(&in));
			n += (size_t)snprintf(buf + n, cap - n, ";");
		}
		cr_assert(not(in.failed));
	}
}

Test(scope, properties)
{
	struct cglimits l = {.memory = 1000,
			     .swap = CGLIMITS_NONE,
			     .has_swap = true,
			     .low = 5,
			     .shares = 2,
			     .weight = 1,
			     .quota = 33333,
			     .period = 100000,
			     .pids = 9,
			     .io_weight = 4,
			     .blkio_weight = 12,
			     .cpus = "0-2,9",
			     .mems = "0"};
	char text[512];

	properties(&l, 2, text, sizeof(text));
	cr_expect_str_eq(text, "MemoryMax=1000;MemoryLow=5;MemorySwapMax=18446744073709551615;"
			       "CPUWeight=1;IOWeight=4;AllowedCPUs=0702;AllowedMemoryNodes=01;"
			       "CPUQuotaPerSecUSec=340000;CPUQuotaPeriodUSec=100000;TasksMax=9;");
	properties(&l, 1, text, sizeof(text));
	cr_expect_str_eq(text, "MemoryLimit=1000;CPUShares=2;BlockIOWeight=12;"
			       "CPUQuotaPerSecUSec=340000;CPUQuotaPeriodUSec=100000;TasksMax=9;");
	l = (struct cglimits){.quota = CGLIMITS_NONE, .cpus = "60000"};
	properties(&l, 2, text, sizeof(text));
	cr_expect_str_eq(text, "CPUQuotaPerSecUSec=18446744073709551615;");
	l = (struct cglimits){.quota = INT64_MAX - 1};
	properties(&l, 2, text, sizeof(text));
	cr_expect_str_eq(text, "CPUQuotaPerSecUSec=18446744073709551615;");
}

/* ---- a conversation -------------------------------------------------------------------------- */

struct bus {
	int listen;
	const char *auth_reply;
	bool silent; /* after Hello */
};

static size_t read_call(int fd, uint8_t *buf, size_t cap)
{
	size_t len = 0;

	if (fd_read_full(fd, buf, DBUS_HEAD_LEN) != DBUS_HEAD_LEN || dbus_msg_len(buf, &len) < 0 ||
	    len > cap || fd_read_full(fd, buf + DBUS_HEAD_LEN, len - DBUS_HEAD_LEN) < 0)
		return 0;
	return len;
}

/* A bus of one client: Hello, then for each call a signal and the reply, or an error for "Bad". */
static void *serve(void *arg)
{
	struct bus *b = arg;
	auto_fd fd = accept(b->listen, NULL, NULL);
	char line[64] = "", c;
	uint8_t buf[4096];
	size_t n = 0;

	while (n + 1 < sizeof(line) && read(fd, &c, 1) == 1 && c != '\n')
		line[n++] = c;
	if (n < 15 || strncmp(line + 1, "AUTH EXTERNAL ", 14) != 0 ||
	    write(fd, b->auth_reply, strlen(b->auth_reply)) < 0 || b->auth_reply[0] != 'O' ||
	    fd_read_full(fd, line, 7) != 7 || strncmp(line, "BEGIN\r\n", 7) != 0)
		return NULL;
	for (int round = 0; read_call(fd, buf, sizeof(buf)); round++) {
		CLEANUP(dbus_out_free) struct dbus_out body = {0}, m = {0}, s = {0};
		struct dbus_msg call;

		if (b->silent && round)
			continue;
		if (dbus_msg_parse(&call, buf, 0) == 0)
			return NULL;
		(void)!dbus_msg_len(buf, &n);
		if (dbus_msg_parse(&call, buf, n) < 0)
			return NULL;
		dbus_put_str(&body, "text");
		put_message(&s, DBUS_SIGNAL, 1, 0, "Told", "s", &body);
		put_message(&m, strcmp(call.member, "Bad") ? DBUS_RETURN : DBUS_ERROR, 2,
			    call.serial, "x.y.Bad", "s", &body);
		if (fd_write_full(fd, s.buf, s.len) < 0 || fd_write_full(fd, m.buf, m.len) < 0)
			return NULL;
	}
	return NULL;
}

static pthread_t start_bus(struct bus *b, char *path, size_t cap)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	pthread_t t;

	(void)snprintf(path, cap, "/tmp/husk-dbus-%d", (int)getpid());
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	b->listen = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert(eq(int, bind(b->listen, (struct sockaddr *)&sa, sizeof(sa)), 0));
	cr_assert(eq(int, listen(b->listen, 1), 0));
	cr_assert(eq(int, pthread_create(&t, NULL, serve, b), 0));
	return t;
}

static void end_bus(struct bus *b, pthread_t t, const char *path)
{
	(void)pthread_join(t, NULL);
	(void)close(b->listen);
	(void)unlink(path);
}

static int take_text(void *ctx, struct dbus_msg *m)
{
	unsigned *cnt = ctx;

	cr_expect_str_eq(dbus_get_str(&m->body), "text");
	return ++*cnt == 3;
}

Test(dbus, calls_errors_signals)
{
	struct bus b = {.auth_reply = "OK 0123\r\n"};
	struct dbus_call c = {.dest = "d.e", .path = "/", .iface = "a.b", .member = "M", .sig = ""};
	struct dbus *d = NULL;
	struct dbus_msg reply;
	struct err e = {0};
	unsigned cnt = 0;
	char path[64];
	pthread_t t = start_bus(&b, path, sizeof(path));

	cr_assert(eq(int, dbus_open(&d, path, clock_ns() + 10 * NS_PER_SEC, &e), 0), "%s", e.msg);
	cr_assert(eq(int, dbus_call(d, &c, NULL, &reply, &e), 0), "%s", e.msg);
	cr_expect_str_eq(dbus_get_str(&reply.body), "text");
	c.member = "Bad";
	cr_expect(eq(int, dbus_call(d, &c, NULL, &reply, &e), -EREMOTEIO));
	cr_expect_str_eq(dbus_error_name(d), "x.y.Bad");
	cr_expect_str_eq(e.msg, "Bad: text (x.y.Bad)");
	/* Those that came before each of the three replies. */
	e = (struct err){0};
	cr_assert(eq(int, dbus_await(d, "a.b", "Told", take_text, &cnt, &e), 0), "%s", e.msg);
	cr_expect(eq(u32, cnt, 3));
	dbus_close(d);
	end_bus(&b, t, path);
}

Test(dbus, refusal_silence_absence)
{
	struct bus b = {.auth_reply = "REJECTED EXTERNAL\r\n"};
	struct dbus_call c = {.dest = "d.e", .path = "/", .iface = "a.b", .member = "M", .sig = ""};
	struct dbus *d = NULL;
	struct err e = {0};
	char path[64];
	pthread_t t = start_bus(&b, path, sizeof(path));

	cr_expect(eq(int, dbus_open(&d, path, clock_ns() + 10 * NS_PER_SEC, &e), -EACCES));
	cr_expect_str_eq(e.msg, "D-Bus: the bus refuses us: REJECTED EXTERNAL");
	end_bus(&b, t, path);
	e = (struct err){0};
	cr_expect(eq(int, dbus_open(&d, path, clock_ns() + NS_PER_SEC, &e), -ENOENT));
	cr_expect(strstr(e.msg, path) != NULL, "%s", e.msg);
	b = (struct bus){.auth_reply = "OK 1\r\n", .silent = true};
	t = start_bus(&b, path, sizeof(path));
	e = (struct err){0};
	cr_assert(eq(int, dbus_open(&d, path, clock_ns() + NS_PER_SEC / 2, &e), 0), "%s", e.msg);
	cr_expect(eq(int, dbus_call(d, &c, NULL, NULL, &e), -ETIMEDOUT));
	dbus_close(d);
	end_bus(&b, t, path);
}
