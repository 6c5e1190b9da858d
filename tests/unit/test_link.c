/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c: the handshake, control frames and bytes carried in pieces.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/unit/link_pair.h"

/* ---- carried in pieces -------------------------------------------------------------------- */

static const size_t chunks[] = {1, 3, 15, 16, 17, 4096, 0};

ParameterizedTestParameters(link, in_pieces)
{
	return cr_make_param_array(const size_t, chunks, sizeof(chunks) / sizeof(chunks[0]));
}

ParameterizedTest(const size_t *chunk, link, in_pieces)
{
	static uint8_t big[300000];
	uint32_t a, b;
	size_t off = 0;

	begin();
	cr_assert_eq(link_announce(agent.l, READY), 0);
	pump(*chunk);
	cr_assert_str_eq(host.order, "u");
	cr_assert_str_eq(host.json, READY, "READY's text reaches up()");
	cr_assert_eq(host.json_len, strlen(READY));
	cr_assert_str_eq(agent.json, "{\"protocol\":1}");

	cr_assert_eq(link_request(host.l, LINK_PING, NULL, &a), 0);
	cr_assert_eq(link_request(host.l, LINK_STARTPOD, "{\"k\":1}", &b), 0);
	cr_assert(a != b && a && b);
	pump(*chunk);
	cr_assert_eq(agent.requests, 2);
	cr_assert_eq(agent.id, b);
	cr_assert_eq(agent.cmd, LINK_STARTPOD);
	cr_assert_str_eq(agent.json, "{\"k\":1}");
	cr_assert_eq(link_event(agent.l, "{\"e\":2}"), 0);
	cr_assert_eq(link_reply(agent.l, b, false, "{\"message\":\"no\"}"), 0);
	pump(*chunk);
	cr_assert_eq(host.events, 1);
	cr_assert(host.id == b && !host.ok);
	cr_assert_str_eq(host.json, "{\"message\":\"no\"}");
	cr_assert_eq(link_reply(agent.l, a, true, NULL), 0);
	pump(*chunk);
	cr_assert(host.id == a && host.ok && host.json_len == 0 && host.replies == 2);

	open_both(3);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = pattern(i);
	while (off < sizeof(big)) {
		off += link_send(agent.l, 3, big + off, sizeof(big) - off);
		pump(*chunk);
	}
	link_send_eof(agent.l, 3);
	link_send_exit(agent.l, 3, 137);
	pump(*chunk);
	cr_assert_eq(host.got.len, sizeof(big));
	cr_assert_arr_eq(host.got.data, big, sizeof(big));
	cr_assert(host.eofs == 1 && host.exits == 1 && host.status == 137 && host.last == 3);
	cr_assert(host.brokens == 0 && agent.brokens == 0);
	finish();
}

/* ---- handshake and control ---------------------------------------------------------------- */

Test(link, handshake_must_be_the_first)
{
	static const struct {
		uint32_t code, id;
		const char *json;
	} bad[] = {
	    {LINK_ACK, 1, ""},
	    {LINK_READY, 5, READY},
	    {LINK_READY, 0, ""},
	    {LINK_READY, 0, "null"},
	    {LINK_READY, 0, "[1]"},
	    {LINK_READY, 0, "{\"protocol\":1}"},
	    {LINK_READY, 0, "{\"protocol\":{\"min\":2,\"max\":3}}"},
	    {LINK_READY, 0, "{\"protocol\":{\"min\":0,\"max\":0}}"},
	    {LINK_READY, 0, "{\"protocol\":{\"min\":\"1\",\"max\":1}}"},
	    {LINK_READY, 0, "{\"protocol\":{\"min\":1}}"},
	    {LINK_EVENT, 0, "{}"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		ctl(&host, bad[i].code, bad[i].id, bad[i].json);
		cr_assert_eq(host.brokens, 1, "case %zu", i);
		expect_broken(&host, "the agent");
		finish();
	}
	begin();
	ctl(&host, LINK_READY, 0, READY);
	cr_assert_eq(host.ups, 0, "up only after the ACK");
	ctl(&host, LINK_ACK, 2, "");
	expect_broken(&host, "did not accept");
	finish();
	begin();
	ctl(&host, LINK_READY, 0, READY);
	ctl(&host, LINK_READY, 0, READY);
	expect_broken(&host, "did not accept");
	finish();
}

Test(link, agent_demands_version_first)
{
	uint32_t id;

	begin();
	ctl(&agent, LINK_VERSION, 1, "{\"protocol\":1}");
	expect_broken(&agent, "before READY");
	cr_assert_lt(link_announce(agent.l, READY), 0, "refused, not a bug");
	finish();

	begin();
	cr_assert_eq(link_announce(agent.l, READY), 0);
	ctl(&agent, LINK_PING, 1, "");
	expect_broken(&agent, "does not speak");
	finish();

	begin();
	cr_assert_eq(link_announce(agent.l, READY), 0);
	ctl(&agent, LINK_VERSION, 1, "{\"protocol\":2}");
	expect_broken(&agent, "does not speak");
	finish();

	begin();
	cr_assert_lt(link_request(host.l, LINK_PING, NULL, &id), 0);
	cr_assert_lt(link_reply(agent.l, 1, true, NULL), 0);
	cr_assert_lt(link_event(agent.l, "{}"), 0);
	io(&host, 3, DATA, 1, "x");
	expect_broken(&host, "before the handshake");
	finish();
}

Test(link, control_frames_that_may_not_come)
{
	uint32_t id;

	up();
	ctl(&host, LINK_ACK, 77, "");
	expect_broken(&host, "not asked");
	finish();

	up();
	cr_assert_eq(link_request(host.l, LINK_PING, NULL, &id), 0);
	ctl(&host, LINK_ACK, id, "");
	cr_assert_eq(host.replies, 1);
	ctl(&host, LINK_ERROR, id, "");
	cr_assert_eq(host.replies, 1, "answered once");
	expect_broken(&host, "not asked");
	finish();

	up();
	ctl(&host, LINK_ACK, 0, "");
	expect_broken(&host, "may not send");
	finish();
	up();
	ctl(&host, LINK_EVENT, 1, "{}");
	expect_broken(&host, "may not send");
	finish();
	up();
	ctl(&host, LINK_PING, 1, "{}");
	expect_broken(&host, "may not send");
	finish();
	up();
	ctl(&agent, LINK_PING, 0, "{}");
	expect_broken(&agent, "without an id");
	finish();
	for (int i = 0; i < 4; i++) {
		static const uint32_t codes[] = {LINK_ACK, LINK_ERROR, LINK_READY, LINK_EVENT};

		up();
		ctl(&agent, codes[i], 4, "{}");
		expect_broken(&agent, "a reply");
		finish();
	}
}

Test(link, control_headers)
{
	static const struct {
		uint32_t len, zero;
	} bad[] = {{0, 0},	    {15, 0}, {LINK_CTL_MAX + 1, 0},
		   {UINT32_MAX, 0}, {16, 1}, {16, 0x80000000}};
	uint8_t h[16];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		up();
		be32_store(h, LINK_EVENT);
		be32_store(h + 4, bad[i].len);
		be32_store(h + 8, 0);
		be32_store(h + 12, bad[i].zero);
		feed(&host, false, h, 16);
		cr_assert_eq(host.brokens, 1, "case %zu", i);
		expect_broken(&host, "bad header");
		finish();
	}
}

Test(link, longest_request)
{
	size_t len = LINK_CTL_MAX - 16;
	char *json = malloc(len + 2);
	uint32_t id;

	up();
	memset(json, ' ', len + 1);
	json[0] = '{';
	json[len] = '}';
	json[len + 1] = '\0';
	cr_assert_lt(link_request(host.l, LINK_NEWCONTAINER, json, &id), 0, "one byte too long");
	json[len] = '\0';
	cr_assert_eq(link_request(host.l, LINK_NEWCONTAINER, json, &id), 0);
	pump(100000);
	cr_assert_eq(agent.requests, 1);
	cr_assert_eq(agent.json_len, len);
	cr_assert_eq(link_request(host.l, LINK_PING, "{}", &id), 0);
	pump(0);
	cr_assert_eq(agent.json_len, 2);
	finish();
	free(json);
}

Test(link, agent_that_takes_no_requests)
{
	size_t len = LINK_CTL_MAX - 16;
	char *json = malloc(len + 1);
	unsigned n = 0;
	uint32_t id;

	up();
	memset(json, ' ', len);
	json[len] = '\0';
	while (n < 20 && link_request(host.l, LINK_PING, json, &id) == 0)
		n++;
	cr_assert_lt(n, 10, "%u requests of 16 MiB were taken", n);
	pump(0);
	cr_assert_eq(agent.requests, n);
	cr_assert_eq(link_request(host.l, LINK_PING, NULL, &id), 0);
	finish();
	free(json);
}

Test(link, unanswered_requests_are_bounded)
{
	uint32_t id;
	int rc = 0;

	up();
	for (unsigned i = 0; i < 70000 && rc == 0; i++)
		rc = i % 1000 ? link_request(host.l, LINK_PING, NULL, &id) : (pump(0), 0);
	cr_assert_lt(rc, 0);
	finish();
}
