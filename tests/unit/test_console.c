/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c: the handshake of ports, both directions with flow control, resize, hostile messages.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

enum { READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME };

struct ctl {
	le32_t id;
	le16_t event, value;
};

/* The host's end of a port. */
struct sink {
	unsigned port;
	size_t limit; /* bytes that output() still takes */
	size_t len, calls;
	char data[1 << 16];
	unsigned rooms, opens, closes;
	bool resume_inside; /* calls vcon_output_resume() from output() and then takes less */
	bool echo;
};

static struct sink sink[3];
static struct virtio_dev *dev;
static struct fg *g;
static struct loop *l;
static uint64_t ctl_buf[64]; /* by head of the control input queue */

static size_t output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct sink *s = ctx;
	size_t n = MIN(len, s->limit);

	cr_assert_eq(iov_len(iov, cnt), len);
	cr_assert_gt(len, 0);
	cr_assert_leq(s->len + n, sizeof(s->data));
	s->calls++;
	(void)iov_read(iov, cnt, 0, s->data + s->len, n);
	s->len += n;
	s->limit -= n;
	if (s->resume_inside) {
		s->resume_inside = false;
		s->limit = sizeof(s->data);
		vcon_output_resume(dev, s->port);
	}
	if (s->echo)
		(void)vcon_send(dev, s->port, "echo", 4);
	return n;
}

static void input_room(void *ctx)
{
	((struct sink *)ctx)->rooms++;
}

static void opened(void *ctx, bool open)
{
	struct sink *s = ctx;

	if (open)
		s->opens++;
	else
		s->closes++;
}

static const struct vcon_port_ops ops = {
    .output = output, .input_room = input_room, .opened = opened};

static void post_control(unsigned n, uint32_t len)
{
	struct fg_queue *q = fg_q(g, 2);

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = fg_alloc(g, len, 1);

		ctl_buf[fg_add(q, &(struct fg_buf){at, len, true}, 1, 0)] = at;
	}
	(void)fg_kick(q);
}

static void begin(uint64_t features, unsigned flags, bool with_loop)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};
	struct vcon_port_config cfg[3] = {
	    {.console = true}, {.name = "husk.ctl"}, {.name = "husk.io", .drained = true}};
	struct err e = {0};

	log_setup(&quiet);
	for (unsigned i = 0; i < 3; i++) {
		sink[i] = (struct sink){.port = i, .limit = SIZE_MAX};
		cfg[i].ops = &ops;
		cfg[i].ctx = &sink[i];
	}
	if (with_loop)
		cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	g = fg_new(4 << 20, flags);
	cr_assert_eq(vcon_new(&dev, "console0", cfg, 3, &e), 0, "%s", e.msg);
	fg_plug(g, dev, l);
	cr_assert_eq(fg_start(g, features), 0);
}

static void end(void)
{
	fg_reset(g);
	cr_assert_not(dev->running);
	virtio_free(dev);
	loop_free(l);
	fg_free(g);
}

static void say_raw(const void *msg, uint32_t len)
{
	struct fg_queue *q = fg_q(g, 3);

	(void)fg_add(q, &(struct fg_buf){fg_bytes(g, msg, len), len, false}, 1, 0);
	(void)fg_kick(q);
	(void)fg_take(q, NULL);
}

static void say(uint32_t id, uint16_t event, uint16_t value)
{
	struct ctl m = {le32_of(id), le16_of(event), le16_of(value)};

	say_raw(&m, sizeof(m));
}

/* The next control message is this one; @more, when there, is what follows the header. */
static void hear(uint32_t id, uint16_t event, uint16_t value, const void *more, uint32_t len)
{
	struct ctl m;
	uint32_t written;
	char buf[64];
	int head = fg_take(fg_q(g, 2), &written);

	cr_assert_geq(head, 0, "no message; wanted event %u of port %u", event, id);
	fg_get(g, ctl_buf[head], &m, sizeof(m));
	cr_assert_eq(le16_get(m.event), event, "event %u instead of %u", le16_get(m.event), event);
	cr_assert_eq(le32_get(m.id), id);
	cr_assert_eq(le16_get(m.value), value);
	cr_assert_eq(written, sizeof(m) + len);
	fg_get(g, ctl_buf[head] + sizeof(m), buf, len);
	cr_assert_eq(memcmp(buf, more ? more : "", len), 0);
}

static void silence(void)
{
	cr_assert_eq(fg_take(fg_q(g, 2), NULL), -1);
}

static void up(unsigned port)
{
	say(port, PORT_READY, 1);
	if (port == 0)
		hear(0, CONSOLE, 1, NULL, 0);
	if (port == 1)
		hear(1, NAME, 0, "husk.ctl", 8);
	if (port == 2)
		hear(2, NAME, 0, "husk.io", 7);
	hear(port, OPEN, 1, NULL, 0);
	say(port, OPEN, 1);
}

static void handshake(void)
{
	post_control(16, 512);
	say(UINT32_MAX, READY, 1);
	for (unsigned i = 0; i < 3; i++)
		hear(i, ADD, 0, NULL, 0);
	for (unsigned i = 0; i < 3; i++)
		up(i);
	silence();
}

/* The guest writes @len bytes on @port. */
static void guest_writes(unsigned port, const char *s, uint32_t len)
{
	struct fg_queue *q = fg_q(g, port ? 2 * port + 3 : 1);

	(void)fg_add(q, &(struct fg_buf){fg_bytes(g, s, len), len, false}, 1, 0);
	(void)fg_kick(q);
}

static struct fg_queue *in_queue(unsigned port)
{
	return fg_q(g, port ? 2 * port + 2 : 0);
}

static uint64_t post(unsigned port, uint32_t len)
{
	uint64_t at = fg_alloc(g, len, 1);

	(void)fg_add(in_queue(port), &(struct fg_buf){at, len, true}, 1, 0);
	(void)fg_kick(in_queue(port));
	return at;
}

/* ---- handshake ------------------------------------------------------------------------------- */

Test(console, config_and_queues)
{
	uint32_t n;

	begin(FG_ALL, 0, false);
	vmmio_read(fg_slot(g), 0x104, &n, 4);
	cr_assert_eq(le32toh(n), 3);
	fg_set_reg(g, 0x30, 7);
	cr_assert_gt(fg_reg(g, 0x34), 0);
	fg_set_reg(g, 0x30, 8);
	cr_assert_eq(fg_reg(g, 0x34), 0);
	end();
}

Test(console, ports_come_up_in_the_order_that_linux_needs)
{
	begin(FG_ALL, 0, false);
	handshake();
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(sink[i].opens, 1);
	fg_reset(g);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(sink[i].closes, 1);
	/* A second driver finds everything as the first. */
	fg_alloc_reset(g);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	handshake();
	cr_assert_eq(sink[1].opens, 2);
	end();
}

Test(console, messages_wait_for_buffers_and_keep_their_order)
{
	begin(FG_ALL, 0, false);
	say(UINT32_MAX, READY, 1);
	for (unsigned i = 0; i < 10000; i++) { /* what waits does not grow */
		fg_alloc_reset(g);
		say(1, PORT_READY, 1);
	}
	post_control(1, 64);
	hear(0, ADD, 0, NULL, 0);
	silence();
	post_control(2, 64);
	hear(1, ADD, 0, NULL, 0);
	hear(1, NAME, 0, "husk.ctl", 8);
	post_control(5, 64);
	hear(1, OPEN, 1, NULL, 0);
	hear(2, ADD, 0, NULL, 0);
	silence();
	end();
}

Test(console, nonsense_on_the_control_queue_is_ignored)
{
	begin(FG_ALL, 0, false);
	post_control(4, 64);
	say_raw("", 1);
	say_raw("1234567", 7);
	for (unsigned ev = 0; ev < 20; ev++) {
		if (ev == READY)
			continue;
		say(3, (uint16_t)ev, 1);
		say(UINT32_MAX, (uint16_t)ev, 1);
		say(0x80000000, (uint16_t)ev, 1);
	}
	say(1, ADD, 1);
	say(1, NAME, 1);
	say(1, RESIZE, 1);
	say(UINT32_MAX, READY, 0);
	say(1, PORT_READY, 0);
	silence();
	cr_assert_eq(fg_reg(g, 0x70), 15);
	end();
}

Test(console, a_control_buffer_that_is_too_small_fails_the_device)
{
	begin(FG_ALL, 0, false);
	post_control(1, 7);
	say(UINT32_MAX, READY, 1);
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET);
	end();
}

Test(console, without_multiport_port_0_is_open_at_once)
{
	uint64_t at;
	char buf[5];

	begin(FG_ALL & ~2ull, 0, false);
	cr_assert_eq(vcon_send(dev, 0, "early", 5), 0);
	at = post(0, 100);
	cr_assert_eq(sink[0].opens, 1);
	cr_assert_eq(sink[0].rooms, 1);
	cr_assert_eq(vcon_send(dev, 0, "hello", 5), 5);
	fg_get(g, at, buf, 5);
	cr_assert_eq(memcmp(buf, "hello", 5), 0);
	guest_writes(0, "boot", 4);
	cr_assert_eq(memcmp(sink[0].data, "boot", 4), 0);
	/* The other queues exist, and are nothing. */
	for (unsigned i = 2; i < 8; i++)
		fg_set_reg(g, 0x50, i);
	cr_assert_eq(fg_reg(g, 0x70), 15);
	end();
}

/* ---- guest to host --------------------------------------------------------------------------- */

ParameterizedTestParameters(console, output_arrives)
{
	static unsigned flags[] = {0, FG_TINY_REGIONS};

	return cr_make_param_array(unsigned, flags, 2);
}

ParameterizedTest(unsigned *flags, console, output_arrives)
{
	char text[3000];

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 11);
	begin(FG_ALL, *flags, false);
	handshake();
	fg_alloc_reset(g);
	guest_writes(1, text, sizeof(text));
	cr_assert_eq(sink[1].len, sizeof(text));
	cr_assert_eq(memcmp(sink[1].data, text, sizeof(text)), 0);
	cr_assert_eq(sink[1].calls, 1, "one buffer, one call");
	cr_assert_geq(fg_take(fg_q(g, 5), NULL), 0);
	cr_assert_eq(sink[0].len + sink[2].len, 0);
	end();
}

Test(console, a_batch_is_one_interrupt)
{
	struct fg_queue *q;
	unsigned irqs;

	begin(FG_ALL, 0, false);
	handshake();
	q = fg_q(g, 5);
	irqs = fg_irqs(g);
	for (unsigned i = 0; i < 64; i++)
		(void)fg_add(q, &(struct fg_buf){fg_bytes(g, "abcd", 4), 4, false}, 1, 0);
	cr_assert(fg_kick(q));
	cr_assert_eq(sink[1].len, 256);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	cr_assert_eq(q->kicks, 1);
	end();
}

Test(console, output_stalls_and_resumes_at_the_byte)
{
	begin(FG_ALL, FG_TINY_REGIONS, false);
	handshake();
	fg_alloc_reset(g);
	sink[1].limit = 5;
	guest_writes(1, "abcdefgh", 8);
	guest_writes(1, "ijkl", 4);
	cr_assert_eq(sink[1].len, 5);
	cr_assert_eq(fg_take(fg_q(g, 5), NULL), -1, "not given back before all is taken");
	guest_writes(2, "other", 5);
	cr_assert_eq(sink[2].len, 5, "another port does not notice");
	for (unsigned i = 0; i < 4; i++) {
		sink[1].limit = 1;
		vcon_output_resume(dev, 1);
	}
	cr_assert_eq(sink[1].len, 9);
	cr_assert_eq(fg_take(fg_q(g, 5), NULL), 0);
	cr_assert_eq(fg_take(fg_q(g, 5), NULL), -1);
	sink[1].limit = SIZE_MAX;
	vcon_output_resume(dev, 1);
	cr_assert_eq(fg_take(fg_q(g, 5), NULL), 1);
	cr_assert_eq(memcmp(sink[1].data, "abcdefghijkl", 12), 0);
	vcon_output_resume(dev, 1);
	cr_assert_eq(sink[1].len, 12);
	end();
}

Test(console, a_resume_from_inside_of_output_is_not_lost)
{
	begin(FG_ALL, 0, false);
	handshake();
	sink[1].limit = 3;
	sink[1].resume_inside = true;
	guest_writes(1, "abcdefgh", 8);
	cr_assert_eq(sink[1].len, 8);
	cr_assert_eq(memcmp(sink[1].data, "abcdefgh", 8), 0);
	end();
}

Test(console, a_reset_forgets_what_is_stalled)
{
	begin(FG_ALL, 0, false);
	handshake();
	sink[1].limit = 1;
	guest_writes(1, "abcdefgh", 8);
	fg_reset(g);
	sink[1].limit = SIZE_MAX;
	vcon_output_resume(dev, 1);
	cr_assert_eq(sink[1].len, 1);
	cr_assert_eq(vcon_send(dev, 1, "x", 1), 0);
	fg_alloc_reset(g);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	handshake();
	guest_writes(1, "new", 3);
	cr_assert_eq(memcmp(sink[1].data, "anew", 4), 0);
	end();
}

Test(console, what_was_written_before_the_close_comes_before_it)
{
	struct fg_queue *q;

	begin(FG_ALL, 0, false);
	handshake();
	q = fg_q(g, 5);
	(void)fg_add(q, &(struct fg_buf){fg_bytes(g, "last", 4), 4, false}, 1, 0);
	say(1, OPEN, 0); /* overtakes the kick */
	cr_assert_eq(sink[1].len, 4);
	cr_assert_eq(sink[1].closes, 1);
	end();
}

Test(console, empty_output_is_given_back)
{
	begin(FG_ALL, 0, false);
	handshake();
	(void)fg_add(fg_q(g, 5), &(struct fg_buf){fg_alloc(g, 8, 1), 0, false}, 1, 0);
	(void)fg_add(fg_q(g, 5), &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
	(void)fg_kick(fg_q(g, 5));
	cr_assert_eq(sink[1].calls, 0);
	cr_assert_eq(fg_take(fg_q(g, 5), NULL), 0);
	cr_assert_eq(fg_take(fg_q(g, 5), NULL), 1);
	end();
}

/* ---- host to guest --------------------------------------------------------------------------- */

Test(console, input_fills_buffers_and_reports_room)
{
	uint64_t a, b;
	uint32_t written;
	char buf[8];

	begin(FG_ALL, 0, false);
	handshake();
	a = post(1, 4);
	b = post(1, 8);
	cr_assert_eq(vcon_send(dev, 1, "0123456789abcdef", 16), 12);
	cr_assert_eq(fg_take(in_queue(1), &written), 0);
	cr_assert_eq(written, 4);
	cr_assert_eq(fg_take(in_queue(1), &written), 1);
	cr_assert_eq(written, 8);
	fg_get(g, a, buf, 4);
	cr_assert_eq(memcmp(buf, "0123", 4), 0);
	fg_get(g, b, buf, 8);
	cr_assert_eq(memcmp(buf, "456789ab", 8), 0);
	cr_assert_eq(sink[1].rooms, 0);
	a = post(1, 100);
	cr_assert_eq(sink[1].rooms, 1);
	cr_assert_eq(vcon_send(dev, 1, "cdef", 4), 4);
	cr_assert_geq(fg_take(in_queue(1), &written), 0);
	cr_assert_eq(written, 4);
	/* Nobody waits: buffers cost no kick. */
	in_queue(1)->kicks = 0;
	for (unsigned i = 0; i < 8; i++)
		(void)post(1, 100);
	cr_assert_leq(in_queue(1)->kicks, 1);
	cr_assert_eq(sink[1].rooms, 1);
	end();
}

Test(console, room_for_a_drained_port_is_told_in_bulk)
{
	begin(FG_ALL, 0, false);
	handshake();
	for (unsigned i = 0; i < 6; i++)
		(void)post(2, 1);
	cr_assert_eq(vcon_send(dev, 2, "0123456789", 10), 6);
	for (unsigned i = 0; i < 2; i++) {
		(void)post(2, 1);
		cr_assert_eq(sink[2].rooms, 0);
	}
	(void)post(2, 1);
	cr_assert_eq(sink[2].rooms, 1, "half of six");
	/* What is there is used without being told, and the wait begins anew. */
	(void)post(2, 1);
	cr_assert_eq(vcon_send(dev, 2, "6789a", 5), 4);
	(void)post(2, 1);
	cr_assert_eq(vcon_send(dev, 2, "ab", 2), 1);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(sink[2].rooms, 1);
		(void)post(2, 1);
	}
	cr_assert_eq(sink[2].rooms, 2);
	end();
}

Test(console, nothing_is_sent_to_a_closed_port)
{
	begin(FG_ALL, 0, false);
	handshake();
	(void)post(1, 100);
	say(1, OPEN, 0);
	cr_assert_eq(vcon_send(dev, 1, "lost?", 5), 0);
	cr_assert_eq(fg_take(in_queue(1), NULL), -1);
	cr_assert_eq(sink[1].rooms, 0);
	say(1, OPEN, 1);
	cr_assert_eq(sink[1].rooms, 1);
	cr_assert_eq(vcon_send(dev, 1, "found", 5), 5);
	end();
}

Test(console, output_may_answer_at_once)
{
	uint64_t at;
	char buf[4];

	begin(FG_ALL, 0, false);
	handshake();
	at = post(1, 100);
	sink[1].echo = true;
	guest_writes(1, "ping", 4);
	fg_get(g, at, buf, 4);
	cr_assert_eq(memcmp(buf, "echo", 4), 0);
	end();
}

Test(console, buffers_without_room_end_somewhere)
{
	begin(FG_ALL, 0, false);
	handshake();
	for (unsigned i = 0; i < 32; i++)
		(void)fg_add(in_queue(1), &(struct fg_buf){fg_alloc(g, 8, 1), 8, false}, 1, 0);
	cr_assert_eq(vcon_send(dev, 1, "x", 1), 0);
	for (unsigned i = 0; i < 32; i++)
		cr_assert_geq(fg_take(in_queue(1), NULL), 0);
	end();
}

/* A guest CPU that is always quicker than we are. */
static void one_more(void *ctx, uint64_t gpa, unsigned count)
{
	uint16_t *idx = ctx;
	le16_t w = le16_of(++*idx);

	(void)count;
	fg_put(g, gpa, &w, sizeof(w));
}

Test(console, a_guest_that_posts_for_ever_does_not_keep_the_loop)
{
	struct fg_queue *q;
	uint16_t idx;

	begin(FG_ALL, 0, true);
	handshake();
	q = in_queue(1);
	for (unsigned i = 0; i < 32; i++)
		(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 8, 1), 8, false}, 1, 0);
	idx = q->avail_idx;
	fg_watch_begin(g, q->avail + 2, 2, one_more, &idx);
	cr_assert_eq(vcon_send(dev, 1, "x", 1), 0);
	(void)fg_watch_end(g);
	end();
}

/* ---- size of the terminal -------------------------------------------------------------------- */

Test(console, resize)
{
	uint16_t c[2];
	le16_t size[2] = {le16_of(132), le16_of(50)};

	begin(FG_ALL, 0, false);
	vcon_resize(dev, 0, 80, 24); /* before the port is there: kept */
	vmmio_read(fg_slot(g), 0x100, c, 4);
	cr_assert_eq(le16toh(c[0]), 80);
	cr_assert_eq(le16toh(c[1]), 24);
	post_control(16, 64);
	say(UINT32_MAX, READY, 1);
	for (unsigned i = 0; i < 3; i++)
		hear(i, ADD, 0, NULL, 0);
	say(0, PORT_READY, 1);
	hear(0, CONSOLE, 1, NULL, 0);
	hear(0, RESIZE, 0, (le16_t[]){le16_of(80), le16_of(24)}, 4);
	hear(0, OPEN, 1, NULL, 0);
	vcon_resize(dev, 0, 132, 50);
	hear(0, RESIZE, 0, size, 4);
	vcon_resize(dev, 0, 132, 50);
	silence();
	vcon_resize(dev, 1, 1, 1);
	silence();
	end();
}

/* Linux looks at the size only when told, and not before its console is registered. */
Test(console, without_multiport_the_size_is_told_with_output)
{
	unsigned told = 0;

	begin(FG_ALL & ~2ull, 0, false);
	vcon_resize(dev, 0, 80, 24);
	fg_set_reg(g, 0x64, fg_reg(g, 0x60));
	(void)post(0, 100);
	cr_assert_eq(fg_reg(g, 0x60) & 2, 0, "too early");
	for (unsigned i = 0; i < 8; i++) {
		guest_writes(0, "boot", 4);
		told += (fg_reg(g, 0x60) & 2) != 0;
		fg_set_reg(g, 0x64, fg_reg(g, 0x60));
	}
	cr_assert_eq(told, 4, "1, 2, 4, 8");
	end();
	/* Nothing to tell, nothing told. */
	begin(FG_ALL & ~2ull, 0, false);
	guest_writes(0, "boot", 4);
	cr_assert_eq(fg_reg(g, 0x60) & 2, 0);
	end();
}

/* ---- sharing the loop ------------------------------------------------------------------------ */

static size_t output_and_refill(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct sink *s = ctx;

	(void)iov;
	(void)cnt;
	/* A guest CPU that is always quicker than we are. */
	(void)fg_take(fg_q(g, 5), NULL);
	if (s->calls++ < 100000) {
		fg_alloc_reset(g);
		(void)fg_add(fg_q(g, 5), &(struct fg_buf){fg_alloc(g, 1, 1), 1, false}, 1, 0);
	}
	return len;
}

Test(console, a_guest_that_never_stops_writing_does_not_keep_the_loop)
{
	static struct vcon_port_ops busy;

	begin(FG_ALL, 0, true);
	handshake();
	busy = ops;
	busy.output = output_and_refill;
	/* Ports are configured at birth: make the device anew with the busy one. */
	end();
	l = NULL;
	{
		struct vcon_port_config cfg[2] = {{.console = true, .ops = &ops, .ctx = &sink[0]},
						  {.name = "x", .ops = &busy, .ctx = &sink[1]}};
		struct err e = {0};

		cr_assert_eq(loop_new(&l, 8, &e), 0);
		g = fg_new(1 << 20, 0);
		cr_assert_eq(vcon_new(&dev, "console0", cfg, 2, &e), 0);
		fg_plug(g, dev, l);
		cr_assert_eq(fg_start(g, FG_ALL), 0);
	}
	sink[1].calls = 0;
	guest_writes(1, "x", 1);
	cr_assert_leq(sink[1].calls, 64, "one ring's worth");
	cr_assert_eq(loop_step(l, true), 0);
	cr_assert_gt(sink[1].calls, 64);
	cr_assert_lt(sink[1].calls, 1000);
	end(); /* with work still posted */
}

Test(console, refuses_what_it_cannot_be)
{
	struct vcon_port_config cfg[33] = {{.console = true}};
	char name[65];
	struct err e = {0};

	memset(name, 'n', 64);
	name[64] = '\0';
	for (unsigned i = 0; i < 33; i++)
		cfg[i].ops = &ops;
	cr_assert_eq(vcon_new(&dev, "c", cfg, 0, &e), -EINVAL);
	e.code = 0;
	cr_assert_eq(vcon_new(&dev, "c", cfg, 33, &e), -EINVAL);
	e.code = 0;
	cfg[1].name = name;
	cr_assert_eq(vcon_new(&dev, "c", cfg, 2, &e), -ENAMETOOLONG);
	cr_assert_not_null(strstr(e.msg, "nnnn"));
	cfg[1].name = "ok";
	cr_assert_eq(vcon_new(&dev, "c", cfg, 32, &e), 0);
	cr_assert_eq(dev->queue_cnt, 66);
	virtio_free(dev);
}
