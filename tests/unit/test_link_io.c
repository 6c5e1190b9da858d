/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c: streams, windows, I/O frames, and calls from inside of callbacks.
 */
#include <criterion/criterion.h>

#include "tests/unit/link_pair.h"

/* ---- windows ------------------------------------------------------------------------------ */

Test(link_io, window_and_credit)
{
	static uint8_t z[LINK_WINDOW + 100];

	up();
	open_both(3);
	host.keep = true;
	cr_assert_eq(link_send_room(agent.l, 3), LINK_WINDOW);
	cr_assert_eq(link_send(agent.l, 3, z, sizeof(z)), LINK_WINDOW);
	cr_assert_eq(link_send(agent.l, 3, z, 1), 0);
	pump(0);
	cr_assert_eq(host.got.len, LINK_WINDOW);
	cr_assert_eq(agent.writables, 0);
	link_consumed(host.l, 3, 10);
	pump(0);
	cr_assert_eq(agent.writables, 0, "credit is returned in steps");
	link_consumed(host.l, 3, LINK_WINDOW / 4 - 10);
	pump(0);
	cr_assert_eq(agent.writables, 1);
	cr_assert_eq(link_send_room(agent.l, 3), LINK_WINDOW / 4);
	cr_assert_eq(link_send(agent.l, 3, z, sizeof(z)), LINK_WINDOW / 4);
	link_consumed(host.l, 3, LINK_WINDOW * 3 / 4);
	pump(0);
	cr_assert_eq(agent.writables, 2);
	cr_assert_eq(link_send_room(agent.l, 3), LINK_WINDOW * 3 / 4);
	finish();
}

/* What link_send_room() says, link_send() takes, also near the end of the buffer. */
Test(link_io, room_is_kept)
{
	static uint8_t z[LINK_WINDOW];
	size_t room;

	up();
	for (uint64_t id = 1; id < 10; id++) {
		open_both(id);
		(void)link_send(agent.l, id, z, 60000);
	}
	for (uint64_t id = 1; id < 10; id++) {
		room = link_send_room(agent.l, id);
		cr_assert_eq(link_send(agent.l, id, z, room), room, "stream %lu",
			     (unsigned long)id);
	}
	finish();
}

Test(link_io, stalled_stream_stops_no_other)
{
	static uint8_t z[LINK_WINDOW];
	size_t total = 0;

	up();
	open_both(3);
	open_both(5);
	host.keep = true;
	cr_assert_eq(link_send(agent.l, 3, z, sizeof(z)), sizeof(z));
	pump(0);
	host.keep = false;
	for (int i = 0; i < 40; i++) {
		total += link_send(agent.l, 5, z, 100000);
		pump(0);
	}
	cr_assert_eq(total, 4000000);
	cr_assert_eq(link_send(agent.l, 3, z, 1), 0);
	finish();
}

static unsigned woken[32];

static void refill(struct end *e, char call, uint64_t stream)
{
	static uint8_t z[LINK_WINDOW + 1];

	if (call != 'w')
		return;
	woken[stream]++;
	(void)link_send(e->l, stream, z, sizeof(z));
}

/* All that wait are told, none is told twice before another, however the buffer is emptied. */
Test(link_io, every_waiting_stream_gets_its_turn)
{
	static uint8_t z[LINK_WINDOW + 1];

	up();
	for (uint64_t id = 1; id <= 12; id++)
		open_both(id);
	for (uint64_t id = 1; id <= 12; id++)
		(void)link_send(agent.l, id, z, sizeof(z));
	agent.hook = refill;
	for (int i = 0; i < 4000; i++) {
		(void)move(&agent, &host, true, 4096);
		(void)move(&host, &agent, true, 0);
	}
	for (unsigned id = 1; id <= 12; id++)
		cr_assert_gt(woken[id], 1, "stream %u was told %u times", id, woken[id]);
	finish();
}

Test(link_io, all_waiting_are_woken)
{
	static uint8_t z[LINK_WINDOW];
	unsigned waiting = 0;

	up();
	for (uint64_t id = 1; id <= 12; id++) {
		open_both(id);
		if (link_send(agent.l, id, z, sizeof(z)) < sizeof(z))
			waiting++;
	}
	cr_assert_gt(waiting, 3);
	/* They do not send when told, so there is room for all. */
	(void)move(&agent, &host, true, 0);
	cr_assert_eq(agent.writables, waiting);
	finish();
}

Test(link_io, window_violation)
{
	static uint8_t z[LINK_IO_MAX];

	up();
	open_both(3);
	host.keep = true;
	for (unsigned i = 0; i < LINK_WINDOW / LINK_IO_MAX; i++)
		io(&host, 3, DATA, LINK_IO_MAX, z);
	cr_assert_eq(host.brokens, 0);
	io(&host, 3, DATA, 1, z);
	cr_assert_eq(host.got.len, LINK_WINDOW);
	expect_broken(&host, "window");
	finish();
}

/* The same frame is a violation whether it comes whole or in pieces. */
Test(link_io, window_violation_does_not_depend_on_pieces)
{
	static uint8_t z[LINK_IO_MAX];
	uint8_t h[16] = {0};

	up();
	open_both(3);
	host.keep = true;
	for (unsigned i = 0; i < LINK_WINDOW / LINK_IO_MAX - 1; i++)
		io(&host, 3, DATA, LINK_IO_MAX, z);
	io(&host, 3, DATA, 1, z);
	be64_store(h, 3);
	be32_store(h + 12, LINK_IO_MAX);
	feed(&host, true, h, 16);
	expect_broken(&host, "window");
	finish();
}

static void try_open(struct link *l, uint64_t id)
{
	int rc = link_open(l, id);

	(void)rc;
}

/* As much output as frames that are always taken can make. */
static void fill_output(struct end *e, size_t bytes)
{
	size_t len = 0;

	while (len < bytes && !e->brokens) {
		try_open(e->l, 1 << 20);
		link_send_closed(e->l, 1 << 20);
		link_close(e->l, 1 << 20);
		(void)link_io_output(e->l, &len);
	}
}

Test(link_io, a_peer_that_does_not_read)
{
	up();
	open_both(3);
	fill_output(&host, 100u << 20);
	expect_broken(&host, "does not read");
	finish();
}

/* ---- I/O frames --------------------------------------------------------------------------- */

Test(link_io, io_headers)
{
	static const struct {
		uint8_t type, z1, z2, z3;
		uint32_t len;
	} bad[] = {
	    {5, 0, 0, 0, 0},
	    {255, 0, 0, 0, 0},
	    {DATA, 1, 0, 0, 1},
	    {DATA, 0, 1, 0, 1},
	    {DATA, 0, 0, 1, 1},
	    {DATA, 0, 0, 0, 0},
	    {DATA, 0, 0, 0, LINK_IO_MAX + 1},
	    {DATA, 0, 0, 0, UINT32_MAX},
	    {END, 0, 0, 0, 1},
	    {CLOSED, 0, 0, 0, 1},
	    {CREDIT, 0, 0, 0, 3},
	    {CREDIT, 0, 0, 0, 5},
	    {CREDIT, 0, 0, 0, 0},
	    {EXITED, 0, 0, 0, 1},
	    {EXITED, 0, 0, 0, 0},
	    {EXITED, 0, 0, 0, UINT32_MAX},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (unsigned opened = 0; opened < 2; opened++) {
			uint8_t h[16];

			up();
			if (opened)
				open_both(3);
			be64_store(h, 3);
			h[8] = bad[i].type;
			h[9] = bad[i].z1;
			h[10] = bad[i].z2;
			h[11] = bad[i].z3;
			be32_store(h + 12, bad[i].len);
			feed(&host, true, h, 16);
			cr_assert_eq(host.brokens, 1, "case %zu", i);
			cr_assert_str_eq(host.order, "B");
			expect_broken(&host, "");
			finish();
		}
	up();
	io_num(&agent, 3, EXITED, 0);
	expect_broken(&agent, "from the host");
	finish();
}

Test(link_io, after_the_end)
{
	up();
	open_both(3);
	io(&host, 3, END, 0, NULL);
	io(&host, 3, DATA, 1, "x");
	cr_assert_eq(host.got.len, 0);
	expect_broken(&host, "after the end");
	finish();

	up();
	open_both(3);
	io(&host, 3, END, 0, NULL);
	io(&host, 3, END, 0, NULL);
	cr_assert_eq(host.eofs, 1);
	expect_broken(&host, "two ends");
	finish();

	up();
	open_both(3);
	io(&host, 3, CLOSED, 0, NULL);
	io(&host, 3, CLOSED, 0, NULL);
	cr_assert_eq(host.closeds, 1);
	expect_broken(&host, "twice");
	finish();

	up();
	open_both(3);
	cr_assert_eq(link_send(host.l, 3, "abc", 3), 3);
	io_num(&host, 3, CREDIT, 3);
	cr_assert_eq(host.brokens, 0);
	io_num(&host, 3, CREDIT, 1);
	expect_broken(&host, "more credit");
	finish();

	up();
	open_both(3);
	io_num(&host, 3, CREDIT, UINT32_MAX);
	expect_broken(&host, "more credit");
	finish();
}

Test(link_io, exit_is_the_last)
{
	for (uint64_t id = 3; id <= 4; id++) {
		up();
		open_both(3);
		open_both(4);
		io(&host, 3, DATA, 2, "ab");
		io_num(&host, 3, EXITED, 7);
		cr_assert_str_eq(host.order, "dx");
		cr_assert_eq(host.status, 7);
		io(&host, id, DATA, 1, "c");
		cr_assert_eq(host.got.len, 2);
		expect_broken(&host, "after the end");
		finish();
	}
	up();
	open_both(3);
	io_num(&host, 3, EXITED, 7);
	io_num(&host, 3, EXITED, 8);
	cr_assert_eq(host.exits, 1);
	expect_broken(&host, "two ends");
	finish();
}

Test(link_io, exit_does_not_overtake_output)
{
	static uint8_t z[LINK_WINDOW];

	up();
	open_both(3);
	open_both(4);
	(void)link_send(agent.l, 3, z, sizeof(z));
	(void)link_send(agent.l, 4, z, 1000);
	link_send_exit(agent.l, 3, 1);
	while (move(&agent, &host, true, 1000))
		cr_assert(!host.exits || host.got.len == LINK_WINDOW + 1000);
	cr_assert_eq(host.exits, 1);
	finish();
}

Test(link_io, unknown_streams_are_dropped)
{
	up();
	io(&host, 9, DATA, 5, "hello");
	io(&host, 9, END, 0, NULL);
	io(&host, 9, CLOSED, 0, NULL);
	io_num(&host, 9, CREDIT, UINT32_MAX);
	io_num(&host, 9, EXITED, 1);
	cr_assert_str_eq(host.order, "");
	link_consumed(host.l, 9, 5);
	link_send_eof(host.l, 9);
	link_send_closed(host.l, 9);
	cr_assert_eq(link_send(host.l, 9, "x", 1), 0);
	link_close(host.l, 9);
	pump(0);
	cr_assert_eq(agent.brokens + host.brokens, 0);
	finish();
}

/* A frame belongs to whoever had the number when it began. */
Test(link_io, frame_across_close_and_open)
{
	uint8_t f[16 + 8] = {0};

	up();
	be64_store(f, 9);
	be32_store(f + 12, 8);
	feed(&host, true, f, 20);
	cr_assert_eq(link_open(host.l, 9), 0);
	feed(&host, true, f + 20, 4);
	cr_assert_str_eq(host.order, "", "the rest of a frame whose beginning was dropped");
	feed(&host, true, f, 20);
	link_close(host.l, 9);
	feed(&host, true, f + 20, 4);
	cr_assert_str_eq(host.order, "d");
	cr_assert_eq(host.brokens, 0);
	finish();
}

Test(link_io, closed_stream_takes_nothing_and_drops)
{
	static uint8_t z[LINK_WINDOW];

	up();
	open_both(3);
	link_send_closed(host.l, 3);
	link_send_closed(host.l, 3);
	/* Under way before the agent hears of it: dropped, and the window stays whole. */
	for (int i = 0; i < 20; i++) {
		(void)link_send(agent.l, 3, z, 60000);
		(void)move(&agent, &host, true, 0);
	}
	cr_assert_eq(host.got.len, 0);
	pump(0);
	cr_assert_eq(agent.closeds, 1);
	cr_assert_eq(link_send_room(agent.l, 3), 0);
	cr_assert_eq(link_send(agent.l, 3, z, 1), 0);
	cr_assert_eq(agent.brokens + host.brokens, 0);
	finish();
}

Test(link_io, numbers_are_unique_and_bounded)
{
	up();
	for (uint64_t i = 0; i < LINK_STREAMS_MAX; i++)
		cr_assert_eq(link_open(host.l, i), 0);
	cr_assert_lt(link_open(host.l, LINK_STREAMS_MAX), 0);
	link_close(host.l, 4000);
	cr_assert_lt(link_open(host.l, 1), 0);
	cr_assert_eq(link_open(host.l, 4000), 0);
	finish();
}

Test(link_io, nothing_after_own_eof)
{
	up();
	open_both(3);
	link_send_eof(agent.l, 3);
	link_send_eof(agent.l, 3);
	cr_assert_eq(link_send(agent.l, 3, "x", 1), 0);
	pump(0);
	cr_assert_eq(host.eofs, 1);
	cr_assert_eq(host.brokens, 0);
	finish();
}

/* ---- from inside of callbacks ------------------------------------------------------------- */

/* Opens many, so that the table moves, closes its own and others, sends, ends. */
static void churn(struct end *e, char call, uint64_t stream)
{
	static uint64_t next = 1000;
	uint8_t z[300] = {0};

	if (call == 'B')
		return;
	for (int i = 0; i < 20; i++)
		try_open(e->l, next++);
	(void)link_send(e->l, stream, z, sizeof(z));
	(void)link_send_room(e->l, stream);
	link_send_eof(e->l, stream);
	link_send_closed(e->l, stream);
	link_close(e->l, stream);
	link_close(e->l, next - 3);
	try_open(e->l, stream);
}

Test(link_io, churn_in_callbacks)
{
	static uint8_t z[LINK_WINDOW];

	up();
	for (uint64_t id = 1; id <= 12; id++)
		open_both(id);
	for (uint64_t id = 1; id <= 12; id++)
		(void)link_send(host.l, id, z, sizeof(z));
	host.hook = churn;
	host.keep = true;
	io_num(&host, 1, CREDIT, 10);
	io(&host, 1, DATA, 5, "hello");
	io(&host, 2, END, 0, NULL);
	io(&host, 3, CLOSED, 0, NULL);
	io_num(&host, 4, EXITED, 3);
	cr_assert_eq(host.brokens, 0, "%s", host.why);
	(void)move(&host, &agent, true, 0);
	cr_assert_gt(host.writables, 5);
	finish();
}

static void close_all(struct end *e, char call, uint64_t stream)
{
	(void)stream;
	if (call != 'B')
		return;
	for (uint64_t i = 1; i < 40; i++)
		link_close(e->l, i);
	for (uint64_t i = 100; i < 200; i++)
		try_open(e->l, i);
}

/* broken() may come from inside of a call of ours. */
Test(link_io, breaks_inside_of_a_send)
{
	static uint8_t z[LINK_IO_MAX];

	up();
	for (uint64_t i = 1; i < 40; i++)
		open_both(i);
	host.hook = close_all;
	host.keep = true;
	io(&host, 39, DATA, LINK_IO_MAX, z);
	fill_output(&host, (8u << 20) + 1);
	cr_assert_eq(host.brokens, 0);
	link_consumed(host.l, 39, LINK_IO_MAX);
	cr_assert_eq(host.brokens, 1);
	finish();
}

static void ask_again(struct end *e, char call, uint64_t stream)
{
	uint32_t id;

	(void)stream;
	if (call == 'u' || (call == 'r' && e->replies < 5))
		cr_assert_eq(link_request(e->l, LINK_PING, "{}", &id), 0);
}

static void answer(struct end *e, char call, uint64_t stream)
{
	(void)stream;
	if (call == 'q')
		cr_assert_eq(link_reply(e->l, e->id, true, "{}"), 0);
}

Test(link_io, requests_in_callbacks)
{
	begin();
	host.hook = ask_again;
	agent.hook = answer;
	cr_assert_eq(link_announce(agent.l, READY), 0);
	pump(5);
	cr_assert_eq(host.replies, 5);
	cr_assert_eq(host.brokens + agent.brokens, 0);
	finish();
}
