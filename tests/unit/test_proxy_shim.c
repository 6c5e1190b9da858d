/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c: shims: tokens claimed and lost, what waits for what, output, exit, and callbacks that
 * take clients away.
 */
#include <criterion/criterion.h>

#include "tests/unit/proxy_client.h"

static char token[PROXY_TOKEN_LEN + 1];
static proxy_client_t rt, shim;

/* A process with a shim, acknowledged. */
static uint64_t running(void)
{
	begin();
	rt = attach(token);
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	new_container(rt, token);
	proxy_reply(px, seen.req, "", 0);
	expect_ok(rt, PROXY_HYPER);
	return seen.base;
}

Test(proxy_shim, connect_errors)
{
	proxy_client_t d;

	begin();
	rt = attach(token);
	d = claim("nonsense");
	expect_error(d, PROXY_CONNECT_SHIM, "unknown token: nonsense");
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	d = claim(token);
	expect_error(d, PROXY_CONNECT_SHIM, "token already claimed");
	say(shim, PROXY_CONNECT_SHIM, "{}");
	expect_error(shim, PROXY_CONNECT_SHIM, "unknown token");
	say(d, PROXY_SIGNAL, "{\"signalNumber\":15}");
	expect_error(d, PROXY_SIGNAL, "client isn't a shim");
	say(d, PROXY_DISCONNECT_SHIM, "");
	expect_error(d, PROXY_DISCONNECT_SHIM, "client isn't a shim");
	finish();
}

Test(proxy_shim, command_waits_for_its_shim)
{
	begin();
	rt = attach(token);
	new_container(rt, token);
	cr_assert_eq(seen.hypers, 0);
	cr_assert_eq(proxy_tick(px, now), now + PROXY_HOLD_NS);
	new_container(rt, token);
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	cr_assert_eq(seen.hypers, 1);
	cr_assert_eq(seen.cmd, LINK_NEWCONTAINER);
	cr_assert_str_eq(seen.json, "{\"id\":\"a\",\"base\":3}");
	cr_assert_eq(proxy_tick(px, now), UINT64_MAX);
	proxy_reply(px, seen.req, "", 0);
	expect_ok(rt, PROXY_HYPER);
	expect_error(rt, PROXY_HYPER, "token already used");
	finish();
}

Test(proxy_shim, command_gives_up_waiting)
{
	begin();
	rt = attach(token);
	new_container(rt, token);
	cr_assert_eq(proxy_tick(px, now + PROXY_HOLD_NS - 1), now + PROXY_HOLD_NS);
	expect_nothing(rt);
	cr_assert_eq(proxy_tick(px, now + PROXY_HOLD_NS), UINT64_MAX);
	expect_error(rt, PROXY_HYPER, "timeout waiting for shim with token ");
	cr_assert_eq(seen.hypers, 0);
	/* The token stays usable. */
	shim = claim(token);
	new_container(rt, token);
	cr_assert_eq(seen.hypers, 1);
	/* And after an error of the agent too. */
	proxy_reply_error(px, seen.req, "no");
	expect_error(rt, PROXY_HYPER, "no");
	new_container(rt, token);
	cr_assert_eq(seen.hypers, 2);
	finish();
}

Test(proxy_shim, held_command_goes_with_its_client)
{
	begin();
	for (unsigned i = 0; i < 100; i++) {
		char other[PROXY_TOKEN_LEN + 1];

		rt = attach(i ? other : token);
		new_container(rt, token);
		proxy_disconnect(px, rt);
		cr_assert_eq(proxy_tick(px, now + 2 * PROXY_HOLD_NS), UINT64_MAX);
	}
	shim = claim(token);
	cr_assert_eq(seen.hypers, 0);
	finish();
}

/* ---- signals --------------------------------------------------------------------------------- */

Test(proxy_shim, signal_rules)
{
	static const char *const bad[][2] = {
	    {"{}", "invalid signal number"},
	    {"{\"signalNumber\":-1}", "invalid signal number"},
	    {"{\"signalNumber\":65}", "invalid signal number 65"},
	    {"{\"signalNumber\":4294967305}", "invalid signal number"},
	    {"{\"signalNumber\":\"9\"}", "invalid signal number"},
	    {"{\"signalNumber\":28}", "SIGWINCH"},
	    {"{\"signalNumber\":28,\"columns\":80}", "SIGWINCH"},
	    {"{\"signalNumber\":28,\"columns\":80,\"rows\":65536}", "invalid window size"},
	    {"{\"signalNumber\":28,\"columns\":-1,\"rows\":5}", "invalid window size"},
	    {"{\"signalNumber\":2,\"columns\":80,\"rows\":24}", "SIGWINCH"},
	    {"{\"signalNumber\":2,\"rows\":24}", "SIGWINCH"},
	};
	uint64_t base = running();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(shim, PROXY_SIGNAL, bad[i][0]);
		expect_error(shim, PROXY_SIGNAL, bad[i][1]);
	}
	cr_assert_eq(seen.signals, 0);
	say(shim, PROXY_SIGNAL, "{\"signalNumber\":28,\"columns\":80,\"rows\":24}");
	cr_assert(seen.signo == 28 && seen.cols == 80 && seen.rows == 24);
	cr_assert_eq(seen.shim_base, base);
	proxy_reply(px, seen.signal_req, "", 0);
	expect_ok(shim, PROXY_SIGNAL);
	signal_to(shim, 15);
	cr_assert_eq(seen.signo, 15);
	proxy_reply_error(px, seen.signal_req, "no process");
	expect_error(shim, PROXY_SIGNAL, "no process");
	finish();
}

Test(proxy_shim, kill_before_the_start)
{
	for (int i = 0; i < 2; i++) {
		begin();
		rt = attach(token);
		shim = claim(token);
		expect_ok(shim, PROXY_CONNECT_SHIM);
		signal_to(shim, i ? 9 : 15);
		expect_exit(shim, 0);
		expect_ok(shim, PROXY_SIGNAL);
		cr_assert_eq(seen.signals, 0);
		new_container(rt, token);
		expect_error(rt, PROXY_HYPER, "token already used");
		frame(shim, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, "", 0);
		cr_assert(proxy_wants_close(px, shim));
		finish();
	}
}

Test(proxy_shim, signal_waits_for_the_process)
{
	begin();
	rt = attach(token);
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	signal_to(shim, 2);
	signal_to(shim, 1);
	expect_error(shim, PROXY_SIGNAL, "another signal waits");
	new_container(rt, token);
	cr_assert_eq(seen.signals, 0, "sent is not acknowledged");
	proxy_reply(px, seen.req, "", 0);
	cr_assert_eq(seen.signals, 1);
	cr_assert_eq(seen.signo, 2);
	cr_assert_eq(proxy_tick(px, now + 2 * PROXY_HOLD_NS), UINT64_MAX);
	finish();

	begin();
	rt = attach(token);
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	signal_to(shim, 2);
	new_container(rt, token);
	proxy_reply_error(px, seen.req, "failed");
	cr_assert_eq(seen.signals, 0, "there is no process");
	cr_assert_eq(proxy_tick(px, now), now + PROXY_HOLD_NS);
	(void)proxy_tick(px, now + PROXY_HOLD_NS);
	expect_error(shim, PROXY_SIGNAL, "timeout waiting for process with token");
	finish();
}

/* ---- stdin ----------------------------------------------------------------------------------- */

Test(proxy_shim, stdin_waits_for_the_process)
{
	begin();
	rt = attach(token);
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	frame(shim, PROXY_STREAM, PROXY_STDIN, "early", 5);
	frame(shim, PROXY_STREAM, PROXY_STDIN, "", 0);
	cr_assert_eq(seen.stdins, 0);
	cr_assert_not(proxy_wants_input(px, shim));
	cr_assert_eq(proxy_tick(px, now), now + PROXY_HOLD_NS);
	new_container(rt, token);
	frame(shim, PROXY_STREAM, PROXY_STDIN, "more", 4);
	cr_assert_eq(seen.stdins, 0, "the link may not have it before the ACK");
	seen.outputs = 0;
	proxy_reply(px, seen.req, "", 0);
	cr_assert_eq(seen.stdins, 3);
	cr_assert(seen.in.len == 9 && seen.last_in == 4);
	cr_assert(proxy_wants_input(px, shim) && seen.outputs >= 2);
	cr_assert_eq(proxy_tick(px, now + 2 * PROXY_HOLD_NS), UINT64_MAX);
	finish();
}

Test(proxy_shim, stdin_gives_up_waiting)
{
	begin();
	rt = attach(token);
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	frame(shim, PROXY_STREAM, PROXY_STDIN, "early", 5);
	(void)proxy_tick(px, now + PROXY_HOLD_NS);
	cr_assert(proxy_wants_close(px, shim));
	cr_assert_eq(seen.losses, 1);
	/* Before the carrier has closed it: the token is free. */
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	finish();
}

static void hold_now(char call, uint64_t arg)
{
	if (call == 'i')
		proxy_stdin_hold(px, arg, true);
}

Test(proxy_shim, stdin_in_pieces_with_a_hold)
{
	static uint8_t z[300000];
	uint64_t base = running();

	for (size_t i = 0; i < sizeof(z); i++)
		z[i] = (uint8_t)(i * 13 + i / 256);
	hook = hold_now;
	frame(shim, PROXY_STREAM, PROXY_STDIN, z, sizeof(z));
	frame(shim, PROXY_STREAM, PROXY_STDIN, "", 0);
	for (unsigned i = 1; i <= 6; i++) {
		cr_assert_eq(seen.stdins, i);
		cr_assert_eq(proxy_wants_input(px, shim), i == 6);
		proxy_stdin_hold(px, base, false);
	}
	cr_assert_eq(seen.in.len, sizeof(z));
	cr_assert_arr_eq(seen.in.data, z, sizeof(z));
	cr_assert_eq(seen.last_in, 0);
	finish();
}

Test(proxy_shim, stdin_after_the_exit_is_dropped)
{
	uint64_t base = running();

	proxy_stdin_hold(px, base, true);
	frame(shim, PROXY_STREAM, PROXY_STDIN, "x", 1);
	cr_assert_not(proxy_wants_input(px, shim));
	proxy_shim_exited(px, base, 4);
	expect_exit(shim, 4);
	cr_assert(proxy_wants_input(px, shim));
	frame(shim, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, "", 0);
	cr_assert(proxy_wants_close(px, shim));
	cr_assert_eq(seen.stdins, 0);
	finish();
}

/* ---- output and exit ------------------------------------------------------------------------- */

Test(proxy_shim, output)
{
	uint64_t base = running();

	cr_assert_eq(proxy_shim_output(px, base, PROXY_STDOUT, "out", 3), 3);
	cr_assert_eq(proxy_shim_output(px, base, PROXY_STDERR, "err", 3), 3);
	cr_assert_eq(proxy_shim_output(px, base, PROXY_STDOUT, "", 0), 0);
	proxy_shim_exited(px, base, 200);
	proxy_shim_exited(px, base, 201);
	expect(shim, PROXY_STREAM, PROXY_STDOUT, false, "out");
	expect(shim, PROXY_STREAM, PROXY_STDERR, false, "err");
	expect_exit(shim, 200);
	expect_nothing(shim);
	finish();
}

Test(proxy_shim, backpressure)
{
	static uint8_t z[1 << 20];
	uint64_t base = running();
	size_t total = 0, n, len;

	seen.connects = 0;
	while ((n = proxy_shim_output(px, base, PROXY_STDOUT, z, 100000)))
		total += n;
	cr_assert_lt(total, 1 << 20);
	(void)proxy_output(px, shim, &len);
	proxy_sent(px, shim, len - 300000);
	cr_assert_eq(seen.connects, 0);
	proxy_sent(px, shim, 100000);
	cr_assert_eq(seen.connects, 1, "there is room again");
	cr_assert_gt(proxy_shim_output(px, base, PROXY_STDOUT, z, 1), 0);
	/* More than fits at once is taken in part, and room is told. */
	(void)proxy_output(px, shim, &len);
	proxy_sent(px, shim, len);
	seen.connects = 0;
	cr_assert_lt(proxy_shim_output(px, base, PROXY_STDOUT, z, sizeof(z)), sizeof(z));
	(void)proxy_output(px, shim, &len);
	proxy_sent(px, shim, len);
	cr_assert_eq(seen.connects, 1);
	/* A shim that does not read can still signal. */
	while (proxy_shim_output(px, base, PROXY_STDOUT, z, 100000))
		continue;
	signal_to(shim, 2);
	cr_assert_eq(seen.signals, 1);
	finish();
}

Test(proxy_shim, lost_and_claimed_again)
{
	uint64_t base = running();

	proxy_disconnect(px, shim);
	cr_assert(seen.losses == 1 && seen.shim_base == base);
	cr_assert_not(proxy_has_shim(px, base));
	cr_assert_eq(proxy_shim_output(px, base, PROXY_STDOUT, "x", 1), 0, "it waits");
	seen.connects = 0;
	shim = claim(token);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	cr_assert_eq(seen.connects, 1);
	cr_assert(proxy_has_shim(px, base));
	cr_assert_eq(proxy_shim_output(px, base, PROXY_STDOUT, "x", 1), 1);
	expect(shim, PROXY_STREAM, PROXY_STDOUT, false, "x");
	new_container(rt, token);
	expect_error(rt, PROXY_HYPER, "token already used");
	cr_assert_eq(seen.hypers, 1, "the process is not started twice");
	finish();
}

static void late_output(char call, uint64_t arg)
{
	if (call == 'c')
		cr_assert_eq(proxy_shim_output(px, arg, PROXY_STDOUT, "rest", 4), 4);
}

Test(proxy_shim, exit_is_kept_for_the_next_shim)
{
	uint64_t base = running();

	proxy_disconnect(px, shim);
	proxy_shim_exited(px, base, 42);
	hook = late_output;
	for (int i = 0; i < 2; i++) {
		shim = claim(token);
		expect_ok(shim, PROXY_CONNECT_SHIM);
		expect(shim, PROXY_STREAM, PROXY_STDOUT, false, "rest");
		expect_exit(shim, 42);
		proxy_disconnect(px, shim);
	}
	hook = NULL;
	shim = claim(token);
	frame(shim, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, "", 0);
	shim = claim(token);
	expect_error(shim, PROXY_CONNECT_SHIM, "unknown token");
	finish();
}

Test(proxy_shim, disconnect_ends_the_token)
{
	uint64_t base = running();

	seen.connects = 0;
	frame(shim, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, "", 0);
	expect_nothing(shim);
	cr_assert(proxy_wants_close(px, shim));
	cr_assert_eq(seen.connects, 1);
	cr_assert_eq(proxy_shim_output(px, base, PROXY_STDOUT, "abc", 3), 3, "taken and dropped");
	proxy_disconnect(px, shim);
	shim = claim(token);
	expect_error(shim, PROXY_CONNECT_SHIM, "unknown token");
	proxy_shim_exited(px, base, 1);
	finish();
}

/* ---- clients that go away, at each point ----------------------------------------------------- */

static unsigned countdown;

static void vanish(char call, uint64_t arg)
{
	(void)call;
	(void)arg;
	if (countdown && --countdown == 0) {
		proxy_disconnect(px, shim);
		proxy_disconnect(px, rt);
	}
}

static void drop_session(char call, uint64_t arg)
{
	(void)call;
	(void)arg;
	if (countdown && --countdown == 0)
		frame(shim, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, "", 0);
}

static void everything(void)
{
	static uint8_t z[300000];
	uint64_t base;

	rt = attach(token);
	new_container(rt, token);
	say(rt, PROXY_HYPER, "{\"hyperName\":\"ping\"}");
	shim = claim(token);
	base = seen.base;
	signal_to(shim, 2);
	frame(shim, PROXY_STREAM, PROXY_STDIN, z, 70000);
	proxy_reply(px, seen.req, "", 0);
	proxy_reply(px, seen.signal_req, "", 0);
	proxy_reply_error(px, seen.req, "no");
	(void)proxy_shim_output(px, base, PROXY_STDOUT, z, sizeof(z));
	(void)proxy_shim_output(px, base, PROXY_STDOUT, z, sizeof(z));
	proxy_sent(px, shim, 0);
	proxy_shim_exited(px, base, 1);
	frame(shim, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, "", 0);
	/* Another, whose holds run out. */
	rt = proxy_connect(px);
	say(rt, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\"}");
	new_container(rt, token);
	shim = proxy_connect(px);
	signal_to(shim, 9);
	(void)proxy_tick(px, now + PROXY_HOLD_NS);
	frame(rt, PROXY_STREAM, PROXY_STDIN, "x", 1);
}

static void holds(void)
{
	char other[PROXY_TOKEN_LEN + 1];

	rt = attach(token);
	shim = attach(other);
	new_container(rt, token);
	proxy_disconnect(px, shim);
	shim = claim(other);
	signal_to(shim, 2);
	frame(shim, PROXY_STREAM, PROXY_STDIN, "x", 1);
	(void)proxy_tick(px, now + PROXY_HOLD_NS);
	shim = claim(other);
	signal_to(shim, 15);
}

Test(proxy_shim, vanishing_in_any_callback)
{
	/* attach() itself reads an answer: its callback is the first. */
	for (unsigned k = 2; k < 40; k++)
		for (unsigned how = 0; how < 2; how++) {
			begin();
			countdown = 0;
			hook = how ? drop_session : vanish;
			countdown = k;
			everything();
			finish();
			begin();
			hook = how ? drop_session : vanish;
			countdown = k + 1;
			holds();
			finish();
		}
}

Test(proxy_shim, vanishing_between_requests)
{
	for (unsigned k = 0; k < 12; k++) {
		begin();
		rt = attach(token);
		if (k == 0)
			proxy_disconnect(px, rt);
		new_container(rt, token);
		if (k == 1)
			proxy_disconnect(px, rt);
		shim = claim(token);
		if (k == 2)
			proxy_disconnect(px, rt);
		if (k == 3)
			proxy_disconnect(px, shim);
		signal_to(shim, 2);
		if (k == 4)
			proxy_disconnect(px, shim);
		proxy_reply(px, seen.req, "", 0);
		if (k == 5)
			proxy_disconnect(px, shim);
		proxy_reply(px, seen.signal_req, "", 0);
		(void)proxy_tick(px, now + PROXY_HOLD_NS);
		proxy_shim_exited(px, seen.base, 3);
		if (seen.hypers) {
			proxy_client_t d;

			/* Whoever went away, the exit is there for the next shim. */
			proxy_disconnect(px, shim);
			d = claim(token);
			expect_ok(d, PROXY_CONNECT_SHIM);
			expect_exit(d, 3);
		}
		finish();
	}
}
