/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to an agent that answers, answers late, or never: who waits is told once, in time, and
 * what comes too late is undone. The agent is the other end of the link, in this process.
 */
#include "link_pair.h"

#include <errno.h>

#include "base/clock.h"
#include "runtime/json.h"
#include "runtime/wants.h"

#define MS NS_PER_MS

struct box {
	struct wants w;
	struct loop *loop;
	unsigned told, ok, late, woken, rested;
	uint64_t arg, late_arg;
	uint64_t order[4]; /* the first arguments */
	int status;
	char text[160];
	bool still, wakes, again;
};
static struct box b;

static void heard(struct box *me, uint64_t arg, const struct box_reply *r)
{
	if (me->told < ARRAY_LEN(me->order))
		me->order[me->told] = arg;
	me->told++;
	me->ok += r->ok;
	me->arg = arg;
	me->status = r->status;
	(void)snprintf(me->text, sizeof(me->text), "%s", r->text ? r->text : "");
	if (me->again) {
		me->again = false;
		cr_assert_eq(wants_send(&me->w, &(struct wants_ask){.cmd = LINK_PING, .fn = heard}),
			     0);
	}
}

static void came_late(struct box *me, uint64_t arg)
{
	me->late++;
	me->late_arg = arg;
}

static bool still(struct box *me, uint32_t cmd, bool woke)
{
	return me->still && (!woke || cmd == LINK_EXECCMD);
}

static bool wake(struct box *me)
{
	me->woken += me->wakes;
	return me->wakes;
}

static void rest(struct box *me)
{
	me->rested++;
}

static const struct wants_ops wants_ops = {.still = still, .wake = wake, .rest = rest};

static void replied(struct end *e, char call, uint64_t stream)
{
	(void)stream;
	if (call == 'r')
		wants_reply(&b.w, e->id, e->ok, e->json, e->json_len);
}

static void nothing(struct loop_op *op, int res, unsigned flags)
{
	(void)op;
	(void)res;
	(void)flags;
}

static void setup(void)
{
	struct err e = {0};

	up();
	host.hook = replied;
	cr_assert_eq(loop_new(&b.loop, 16, &e), 0, "%s", e.msg);
	wants_init(&b.w, b.loop, &wants_ops, &b);
	b.w.link = host.l;
	b.w.scale_ns = MS; /* limits in milliseconds */
}

static void teardown(void)
{
	wants_free(&b.w);
	loop_free(b.loop);
	finish();
}

TestSuite(wants, .init = setup, .fini = teardown, .timeout = 60);

static void ask(uint32_t cmd, uint64_t arg)
{
	struct wants_ask a = {.cmd = cmd, .fn = heard, .late = came_late, .arg = arg};

	cr_assert_eq(wants_send(&b.w, &a), 0);
	pump(0);
}

/* Runs the loop until @told have been told, or for @ns. */
static void run(unsigned told, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;
	struct loop_timer t = {.op = {.done = nothing}};

	loop_timer(b.loop, &t, end);
	while (b.told < told && clock_ns() < end)
		cr_assert_eq(loop_step(b.loop, true), 0);
	if (t.op.busy)
		loop_cancel(b.loop, &t.op);
	while (t.op.busy)
		cr_assert_eq(loop_step(b.loop, true), 0);
}

static void answer(uint32_t id, bool ok, const char *json)
{
	cr_assert_eq(link_reply(agent.l, id, ok, json), 0);
	pump(0);
}

Test(wants, answered)
{
	ask(LINK_PSCONTAINER, 7);
	cr_expect_eq(agent.cmd, LINK_PSCONTAINER);
	answer(agent.id, true, "{\"a\":1}");
	cr_expect_eq(b.told, 1);
	cr_expect_eq(b.ok, 1);
	cr_expect_eq(b.arg, 7);
	/* Its time passes: nobody is told again. */
	run(2, 2 * wants_limit(LINK_PSCONTAINER) * MS);
	cr_expect_eq(b.told, 1);
	cr_expect_eq(b.w.cnt, 0);
}

Test(wants, refused_with_status)
{
	ask(LINK_EXECCMD, 1);
	answer(agent.id, false, "{\"message\":\"no such file\",\"status\":127}");
	cr_expect_str_eq(b.text, "no such file");
	cr_expect_eq(b.status, 127);
	ask(LINK_EXECCMD, 1);
	answer(agent.id, false, "{\"status\":99999}");
	cr_expect_str_eq(b.text, "the agent refused");
	cr_expect_eq(b.status, 255);
	ask(LINK_EXECCMD, 1);
	answer(agent.id, true, "not JSON");
	cr_expect_eq(b.told, 3);
	cr_expect_eq(b.ok, 0);
}

/* Each command has a limit, and says in its own words what was not done. */
Test(wants, silence)
{
	static const uint32_t cmds[] = {
	    LINK_STARTPOD,	 LINK_NEWCONTAINER,    LINK_STARTCONTAINER,
	    LINK_EXECCMD,	 LINK_SETUPINTERFACE,  LINK_KILLCONTAINER,
	    LINK_PAUSECONTAINER, LINK_RESUMECONTAINER, LINK_UPDATECONTAINER,
	    LINK_PSCONTAINER,	 LINK_STATSCONTAINER,  LINK_WINSIZE,
	    LINK_PING,		 LINK_DNSANSWER,       LINK_DIAL};

	for (unsigned i = 0; i < ARRAY_LEN(cmds); i++) {
		uint64_t begin = clock_ns(), limit = wants_limit(cmds[i]) * MS;
		char tail[48];

		ask(cmds[i], i);
		run(i + 1, 50 * limit);
		cr_assert_eq(b.told, i + 1, "command %u", cmds[i]);
		cr_expect_eq(b.arg, i);
		cr_expect_eq(b.ok, 0);
		cr_expect_eq(b.status, 1);
		cr_expect_geq(clock_ns() - begin, limit);
		(void)snprintf(tail, sizeof(tail), "within %u seconds", wants_limit(cmds[i]));
		cr_expect(strstr(b.text, tail), "%s", b.text);
		cr_expect(!strncmp(b.text, "the guest's agent did not ", 26), "%s", b.text);
	}
}

/* The first one's limit is longer: the timer is moved forward for the second, and back. */
Test(wants, several)
{
	ask(LINK_NEWCONTAINER, 1);
	ask(LINK_PSCONTAINER, 2);
	run(2, 50 * 120 * MS);
	cr_expect_eq(b.told, 2);
	cr_expect_eq(b.order[0], 2);
	cr_expect_eq(b.order[1], 1);
}

Test(wants, more_time_for_hooks)
{
	struct wants_ask a = {.cmd = LINK_NEWCONTAINER, .fn = heard, .extra_ns = 300 * MS};
	uint64_t begin = clock_ns();

	cr_assert_eq(wants_send(&b.w, &a), 0);
	run(1, 50 * 420 * MS);
	cr_expect_eq(b.told, 1);
	cr_expect_geq(clock_ns() - begin, 420 * MS);
	cr_expect(strstr(b.text, "within 420 seconds"), "%s", b.text);
}

/* A process that runs after all is nobody's: it is undone, and its owner hears nothing more. */
Test(wants, late_answer)
{
	uint32_t id;

	ask(LINK_EXECCMD, 5);
	id = agent.id;
	run(1, 50 * 120 * MS);
	cr_assert_eq(b.told, 1);
	cr_expect_eq(b.w.cnt, 1);
	answer(id, true, "{\"pid\":3}");
	cr_expect_eq(b.told, 1);
	cr_expect_eq(b.late, 1);
	cr_expect_eq(b.late_arg, 5);
	cr_expect_eq(b.w.cnt, 0);
	/* Nor is there anything to undo when it was refused late. */
	ask(LINK_EXECCMD, 6);
	id = agent.id;
	run(2, 50 * 120 * MS);
	answer(id, false, "{\"message\":\"no\"}");
	cr_expect_eq(b.late, 1);
	cr_expect_eq(b.told, 2);
	cr_expect_eq(b.w.cnt, 0);
}

/* A guest that is paused cannot answer: it has its whole time when it goes on. */
Test(wants, pause_does_not_count)
{
	b.still = true;
	ask(LINK_PSCONTAINER, 1);
	run(1, 300 * MS);
	cr_expect_eq(b.told, 0);
	b.still = false;
	wants_restart(&b.w);
	answer(agent.id, true, NULL);
	cr_expect_eq(b.told, 1);
	cr_expect_eq(b.ok, 1);
	/* One that woke it counts, and lets it stop again when it is given up. */
	b.still = b.wakes = true;
	ask(LINK_STATSCONTAINER, 2);
	cr_expect_eq(b.woken, 1);
	run(2, 50 * 60 * MS);
	cr_expect_eq(b.told, 2);
	cr_expect_eq(b.rested, 1);
	/* But an exec, which the frozen container holds back. */
	ask(LINK_EXECCMD, 3);
	run(3, 400 * MS);
	cr_expect_eq(b.told, 2);
	b.still = false;
	run(3, 50 * 120 * MS);
	cr_expect_eq(b.told, 3);
	cr_expect_eq(b.rested, 2);
}

Test(wants, the_end_tells_all_once)
{
	ask(LINK_EXECCMD, 1);
	run(1, 50 * 120 * MS); /* given up: not told again */
	ask(LINK_EXECCMD, 2);
	ask(LINK_PSCONTAINER, 3);
	wants_give_up(&b.w, "the VM has ended");
	cr_expect_eq(b.told, 3);
	cr_expect_str_eq(b.text, "the VM has ended");
	cr_expect_eq(b.w.cnt, 0);
}

/* Whoever is told of a silence may ask for the next thing at once. */
Test(wants, asks_again_when_told)
{
	b.again = true;
	ask(LINK_PSCONTAINER, 1);
	run(2, 100 * 60 * MS);
	cr_expect_eq(b.told, 2);
}

Test(wants, too_many)
{
	struct wants_ask a = {.cmd = LINK_PING, .fn = heard};

	b.w.scale_ns = NS_PER_SEC;
	for (unsigned i = 0; i < WANTS_MAX; i++)
		cr_assert_eq(wants_send(&b.w, &a), 0);
	cr_expect_eq(wants_send(&b.w, &a), -EBUSY);
	wants_give_up(&b.w, "end");
	cr_expect_eq(b.told, WANTS_MAX);
}
