/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c: frames, commands and their errors, limits of a connection.
 */
#include <criterion/criterion.h>

#include "tests/unit/proxy_client.h"

/* ---- frames ---------------------------------------------------------------------------------- */

Test(proxy, header_codec)
{
	uint8_t h[12];
	struct proxy_header f;

	proxy_put_header(h, PROXY_RESPONSE, PROXY_HYPER, true, 0x01020304 & 0xffffff);
	cr_assert_arr_eq(h, "\0\2\3\0\0\0\x11\3\0\2\3\4", 12);
	for (size_t i = 0; i < 12; i++)
		cr_assert_eq(proxy_get_header(h, i, &f), 0);
	cr_assert_eq(proxy_get_header(h, 12, &f), 1);
	cr_assert(f.type == 1 && f.opcode == 3 && f.error && f.header_len == 12);
	cr_assert_eq(f.payload_len, 0x020304);
}

Test(proxy, headers_that_close)
{
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {{1, 1}, {1, 3},  {0, 1},    {2, 2},	  {2, 0},
		   {6, 4}, {6, 15}, {6, 0x10}, {6, 0x12}, {6, 0x13}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		proxy_client_t c;
		uint8_t h[12];

		begin();
		c = proxy_connect(px);
		proxy_put_header(h, PROXY_COMMAND, PROXY_ATTACH_VM, false, 0);
		h[bad[i].at] = bad[i].value;
		input(c, h, 12);
		cr_assert(proxy_wants_close(px, c), "case %zu", i);
		expect_nothing(c);
		finish();
	}
}

Test(proxy, frames_that_close)
{
	static const struct {
		uint8_t type, opcode;
		const char *payload;
	} bad[] = {
	    {PROXY_COMMAND, 8, "{}"},
	    {PROXY_COMMAND, 255, "{}"},
	    {PROXY_RESPONSE, 0, ""},
	    {PROXY_NOTIFY, 0, "x"},
	    {PROXY_STREAM, PROXY_STDIN, "before ConnectShim"},
	    {PROXY_STREAM, PROXY_STDIN, ""},
	    {PROXY_STREAM, PROXY_STDOUT, "x"},
	    {PROXY_STREAM, PROXY_STDERR, "x"},
	    {PROXY_STREAM, 4, "x"},
	    {PROXY_STREAM, PROXY_LOG, "no json"},
	    {PROXY_STREAM, PROXY_LOG, "{\"source\":\"x\",\"level\":\"info\",\"msg\":\"m\"}"},
	    {PROXY_STREAM, PROXY_LOG, "{\"source\":\"shim\",\"level\":\"x\",\"msg\":\"m\"}"},
	    {PROXY_STREAM, PROXY_LOG, "{\"source\":\"shim\",\"level\":\"info\",\"msg\":\"\"}"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		proxy_client_t c;

		begin();
		c = proxy_connect(px);
		frame(c, bad[i].type, bad[i].opcode, bad[i].payload, strlen(bad[i].payload));
		cr_assert(proxy_wants_close(px, c), "case %zu", i);
		expect_nothing(c);
		/* Nothing that comes after it is looked at. */
		say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\"}");
		expect_nothing(c);
		finish();
	}
	begin();
	{
		static const char log[] =
		    "{\"source\":\"runtime\",\"level\":\"warn\",\"msg\":\"m\"}";
		proxy_client_t c = proxy_connect(px);

		frame(c, PROXY_STREAM, PROXY_LOG, log, sizeof(log) - 1);
		cr_assert_not(proxy_wants_close(px, c));
	}
	finish();
}

Test(proxy, payload_limit)
{
	uint8_t h[12];
	proxy_client_t c;
	char *big = malloc(PROXY_PAYLOAD_MAX);

	begin();
	c = proxy_connect(px);
	proxy_put_header(h, PROXY_COMMAND, PROXY_HUSK, false, PROXY_PAYLOAD_MAX + 1);
	input(c, h, 12);
	cr_assert(proxy_wants_close(px, c));
	c = proxy_connect(px);
	memset(big, ' ', PROXY_PAYLOAD_MAX);
	big[0] = '{';
	big[PROXY_PAYLOAD_MAX - 1] = '}';
	frame(c, PROXY_COMMAND, PROXY_HUSK, big, PROXY_PAYLOAD_MAX);
	cr_assert_eq(seen.husks, 1);
	finish();
	free(big);
}

Test(proxy, split_at_each_byte)
{
	uint8_t f[400];
	char token[PROXY_TOKEN_LEN + 1];
	size_t n = 0;
	static const char *const json[] = {"{\"hyperName\":\"ping\"}", "{\"a\":1}", "{}"};
	static const uint8_t ops_[] = {PROXY_HYPER, PROXY_HUSK, PROXY_UNREGISTER_VM};

	for (unsigned i = 0; i < 3; i++) {
		proxy_put_header(f + n, PROXY_COMMAND, ops_[i], false, (uint32_t)strlen(json[i]));
		/* A longer header is allowed, what is more is skipped. */
		f[n + 2] = 4;
		memset(f + n + 12, 0xee, 4);
		memcpy(f + n + 16, json[i], strlen(json[i]));
		n += 16 + strlen(json[i]);
	}
	for (size_t cut = 0; cut <= n; cut++) {
		proxy_client_t c;

		begin();
		c = attach(token);
		input(c, f, cut);
		input(c, f + cut, n - cut);
		cr_assert_eq(seen.hypers, 1);
		proxy_reply(px, seen.req, "pong", 4);
		cr_assert_eq(seen.husks, 1);
		proxy_reply(px, seen.req, "", 0);
		expect(c, PROXY_RESPONSE, PROXY_HYPER, false, "pong");
		expect_error(c, PROXY_UNREGISTER_VM, "UnregisterVM");
		expect_ok(c, PROXY_HUSK);
		expect_nothing(c);
		finish();
	}
	begin();
	{
		proxy_client_t c = attach(token);

		for (size_t i = 0; i < n; i++)
			input(c, f + i, 1);
		cr_assert_eq(seen.hypers, 1);
	}
	finish();
}

/* ---- attaching ------------------------------------------------------------------------------- */

Test(proxy, attach_answers)
{
	proxy_client_t c;

	begin();
	c = proxy_connect(px);
	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"other\"}");
	expect_error(c, PROXY_ATTACH_VM, "unknown containerID: other");
	say(c, PROXY_HYPER, "{\"hyperName\":\"ping\"}");
	expect_error(c, PROXY_HYPER, "client not attached to a vm");
	say(c, PROXY_ATTACH_VM, "{}");
	expect_error(c, PROXY_ATTACH_VM, "malformed AttachVM");
	say(c, PROXY_ATTACH_VM, "{\"containerId\":7}");
	expect_error(c, PROXY_ATTACH_VM, "malformed AttachVM");
	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\",\"numIOStreams\":\"1\"}");
	expect_error(c, PROXY_ATTACH_VM, "numIOStreams");
	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\",\"numIOStreams\":4097}");
	expect_error(c, PROXY_ATTACH_VM, "numIOStreams");
	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\",\"numIOStreams\":-1}");
	expect(c, PROXY_RESPONSE, PROXY_ATTACH_VM, false,
	       "{\"io\":{\"URL\":\"" URL "\",\"tokens\":null}}");
	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\",\"numIOStreams\":2}");
	expect(c, PROXY_RESPONSE, PROXY_ATTACH_VM, false, "\"tokens\":[\"");
	cr_assert_eq(seen.randoms, 2);
	finish();
}

Test(proxy, token_format)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char token[PROXY_TOKEN_LEN + 1];
	uint8_t want[32], got[33];

	for (unsigned k = 0; k < 200; k++) {
		unsigned n = 0;

		begin();
		seen.randoms = k;
		(void)attach(token);
		seen.randoms = k;
		on_random(NULL, want, 32);
		cr_assert_eq(strlen(token), 44);
		cr_assert_eq(strspn(token, digits), 43, "%s", token);
		cr_assert_eq(token[43], '=');
		for (unsigned i = 0; i < 40; i += 4) {
			uint32_t v = 0;

			for (unsigned j = 0; j < 4; j++)
				v = v << 6 | (uint32_t)(strchr(digits, token[i + j]) - digits);
			got[n++] = (uint8_t)(v >> 16);
			got[n++] = (uint8_t)(v >> 8);
			got[n++] = (uint8_t)v;
		}
		cr_assert_arr_eq(got, want, 30);
		finish();
	}
}

Test(proxy, registering_is_refused_by_name)
{
	proxy_client_t c;

	begin();
	c = proxy_connect(px);
	say(c, PROXY_REGISTER_VM, "{\"containerId\":\"x\",\"ctlSerial\":\"a\",\"ioSerial\":\"b\"}");
	expect_error(c, PROXY_REGISTER_VM, "RegisterVM");
	say(c, PROXY_UNREGISTER_VM, "");
	expect_error(c, PROXY_UNREGISTER_VM, "UnregisterVM");
	finish();
}

Test(proxy, tokens_nobody_uses_make_room)
{
	char first[PROXY_TOKEN_LEN + 1], used[PROXY_TOKEN_LEN + 1], t[PROXY_TOKEN_LEN + 1];
	proxy_client_t c, shim;

	begin();
	c = attach(used);
	shim = claim(used);
	expect_ok(shim, PROXY_CONNECT_SHIM);
	c = attach(first);
	for (unsigned i = 0; i < 5000; i++) {
		proxy_disconnect(px, c);
		c = attach(t);
	}
	new_container(c, first);
	expect_error(c, PROXY_HYPER, "unknown token");
	new_container(c, used);
	cr_assert_eq(seen.hypers, 1);
	finish();
}

/* ---- Hyper ----------------------------------------------------------------------------------- */

Test(proxy, hyper_errors)
{
	static const char *const bad[][2] = {
	    {"{\"hyperName\":\"writefile\"}", "unknown command 'writefile'"},
	    {"{}", "unknown command"},
	    {"[]", "not a JSON object"},
	    {"", "not a JSON object"},
	    {"{\"hyperName\":\"ping\"", "not a JSON object"},
	    {"{\"hyperName\":\"ping\"} x", "not a JSON object"},
	    {"{\"hyperName\":\"ping\",\"tokens\":[\"a\"]}",
	     "ping doesn't need tokens but 1 token(s) were given"},
	    {"{\"hyperName\":\"ping\",\"tokens\":\"a\"}", "tokens is not an array"},
	    {"{\"hyperName\":\"ping\",\"data\":[1]}", "data is not an object"},
	    {"{\"hyperName\":\"execcmd\",\"data\":{},\"tokens\":[\"a\",\"b\"]}",
	     "expected 0 or 1 token, got 2"},
	    {"{\"hyperName\":\"execcmd\",\"data\":{},\"tokens\":[\"a\"]}", "unknown token a"},
	    {"{\"hyperName\":\"execcmd\",\"data\":{},\"tokens\":[null]}", "unknown token"},
	    {"{\"hyperName\":\"execcmd\",\"data\":{},\"tokens\":[7]}", "unknown token 7"},
	    {"{\"hyperName\":\"newcontainer\"}", "no data"},
	    {"{\"hyperName\":\"newcontainer\",\"data\":{\"process\":{\"stdio\":5}}}",
	     "expected process.Stdio to be 0, got 5"},
	    {"{\"hyperName\":\"newcontainer\",\"data\":{\"process\":{\"stdio\":0,\"stderr\":6}}}",
	     "expected process.Stderr to be 0, got 6"},
	};
	char token[PROXY_TOKEN_LEN + 1];
	proxy_client_t c;

	begin();
	c = attach(token);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(c, PROXY_HYPER, bad[i][0]);
		expect_error(c, PROXY_HYPER, bad[i][1]);
	}
	cr_assert_eq(seen.hypers, 0);
	finish();
}

Test(proxy, hyper_passes_data_and_answer)
{
	char token[PROXY_TOKEN_LEN + 1];
	proxy_client_t c;

	begin();
	c = attach(token);
	say(c, PROXY_HYPER,
	    "{\"hyperName\":\"pscontainer\",\"tokens\":null,\"data\":{\"x\":[1,\"/a\"]}}");
	cr_assert_eq(seen.cmd, LINK_PSCONTAINER);
	cr_assert_eq(seen.base, 0);
	cr_assert_str_eq(seen.json, "{\"x\":[1,\"/a\"]}");
	proxy_reply(px, seen.req, "table", 5);
	proxy_reply(px, seen.req, "table", 5);
	expect(c, PROXY_RESPONSE, PROXY_HYPER, false, "table");
	expect_nothing(c);
	/* Processes without a token, twice: no shim is waited for. */
	for (unsigned i = 0; i < 2; i++) {
		say(c, PROXY_HYPER, "{\"hyperName\":\"newcontainer\",\"data\":{\"base\":99}}");
		cr_assert_str_eq(seen.json, "{\"base\":0}");
		proxy_reply_error(px, seen.req, "no \"%s\"", "room");
		expect_error(c, PROXY_HYPER, "no \\\"room\\\"");
	}
	cr_assert_eq(seen.hypers, 3);
	finish();
}

/* Answers carry no ids, so a connection's commands are answered in their order. */
Test(proxy, commands_keep_their_order)
{
	char token[PROXY_TOKEN_LEN + 1];
	proxy_client_t c, d;

	begin();
	c = attach(token);
	d = attach(token);
	say(c, PROXY_HYPER, "{\"hyperName\":\"ping\"}");
	cr_assert(proxy_wants_input(px, c));
	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\"}");
	cr_assert_not(proxy_wants_input(px, c));
	say(c, PROXY_HYPER, "{\"hyperName\":\"startpod\"}");
	expect_nothing(c);
	say(d, PROXY_HYPER, "{\"hyperName\":\"destroypod\"}");
	cr_assert_eq(seen.hypers, 2, "another connection does not wait");
	proxy_reply(px, seen.req, "", 0);
	proxy_reply(px, seen.req - 1, "one", 3);
	cr_assert_eq(seen.cmd, LINK_STARTPOD);
	cr_assert(proxy_wants_input(px, c));
	expect(c, PROXY_RESPONSE, PROXY_HYPER, false, "one");
	expect(c, PROXY_RESPONSE, PROXY_ATTACH_VM, false, "tokens");
	expect_nothing(c);
	finish();
}

static void answer_at_once(char call, uint64_t arg)
{
	if (call == 'h')
		proxy_reply(px, arg, "", 0);
}

/* Thousands of commands in one piece, each answered from inside of its callback. */
Test(proxy, pipelined_commands_do_not_nest)
{
	static const char json[] = "{\"hyperName\":\"ping\"}";
	char token[PROXY_TOKEN_LEN + 1];
	size_t one = PROXY_HEADER_LEN + sizeof(json) - 1, n = 20000;
	uint8_t *all = malloc(one * n);
	proxy_client_t c;

	begin();
	c = attach(token);
	hook = answer_at_once;
	for (size_t i = 0; i < n; i++) {
		proxy_put_header(all + i * one, PROXY_COMMAND, PROXY_HYPER, false,
				 sizeof(json) - 1);
		memcpy(all + i * one + PROXY_HEADER_LEN, json, sizeof(json) - 1);
	}
	input(c, all, one * n);
	cr_assert_eq(seen.hypers, n);
	finish();
	free(all);
}

Test(proxy, a_client_that_takes_no_answers_is_not_read)
{
	proxy_client_t c;
	size_t len = 0;
	unsigned i;

	begin();
	c = proxy_connect(px);
	for (i = 0; i < 100000 && proxy_wants_input(px, c); i++)
		say(c, PROXY_REGISTER_VM, "");
	cr_assert_lt(i, 100000);
	(void)proxy_output(px, c, &len);
	cr_assert_lt(len, 2 << 20);
	seen.outputs = 0;
	proxy_sent(px, c, len);
	cr_assert_gt(seen.outputs, 0);
	cr_assert(proxy_wants_input(px, c));
	/* One that is read all the same does not grow for ever. */
	for (i = 0; i < 4000000 && !proxy_wants_close(px, c); i++) {
		static const uint8_t zeros[65536];

		if (i == 0)
			frame(c, PROXY_COMMAND, PROXY_HUSK, "{}", 2);
		while (proxy_wants_input(px, c))
			say(c, PROXY_REGISTER_VM, "");
		input(c, zeros, sizeof(zeros));
		if (i > 2000)
			break;
	}
	(void)proxy_output(px, c, &len);
	proxy_sent(px, c, len);
	cr_assert(proxy_wants_close(px, c));
	finish();
}

Test(proxy, husk_commands)
{
	proxy_client_t c;

	begin();
	c = proxy_connect(px);
	say(c, PROXY_HUSK, "[1]");
	expect_error(c, PROXY_HUSK, "not a JSON object");
	say(c, PROXY_HUSK, "{\"op\":\"x\"}");
	cr_assert_eq(seen.client, c);
	cr_assert_str_eq(seen.json, "{\"op\":\"x\"}");
	proxy_disconnect(px, c);
	proxy_reply(px, seen.req, "late", 4);
	finish();
}

/* ---- handles --------------------------------------------------------------------------------- */

Test(proxy, stale_handles)
{
	proxy_client_t c, d;
	size_t len;

	begin();
	c = proxy_connect(px);
	say(c, PROXY_HUSK, "{}");
	proxy_disconnect(px, c);
	proxy_disconnect(px, c);
	d = proxy_connect(px);
	cr_assert_neq(c, d);
	proxy_reply(px, seen.req, "late", 4);
	expect_nothing(d);
	say(c, PROXY_HUSK, "{}");
	cr_assert_eq(seen.husks, 1);
	cr_assert_null(proxy_output(px, c, &len));
	proxy_sent(px, c, 1);
	cr_assert_not(proxy_wants_close(px, c) || proxy_wants_input(px, c));
	proxy_disconnect(px, 0);
	proxy_reply_error(px, 12345, "nobody");
	proxy_shim_exited(px, 99, 1);
	cr_assert_not(proxy_has_shim(px, 99));
	finish();
}

Test(proxy, clients_are_bounded)
{
	unsigned n = 0;
	proxy_client_t last = 0, c;

	begin();
	while ((c = proxy_connect(px))) {
		last = c;
		n++;
	}
	cr_assert_eq(n, 1024);
	proxy_disconnect(px, last);
	cr_assert_neq(proxy_connect(px), 0);
	finish();
}

Test(proxy, bases)
{
	uint64_t a;

	begin();
	a = proxy_next_base(px);
	cr_assert_eq(a, 3);
	cr_assert_eq(proxy_next_base(px), 5);
	finish();
}
