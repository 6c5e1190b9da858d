/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box_pause.c with a machine and an agent that fail where a test wants them to: what a pause has
 * begun is taken back, whichever half of it failed, and who asked is told once.
 *
 * The machine, the agent and the clients are functions of this file, under the names that the linker
 * looks for.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "runtime/box_priv.h"

static struct box b;
static char id[] = "c1";
static struct state st = {.id = id};

/* ---- the machine ----------------------------------------------------------------------------- */

static unsigned parks, goes_on;
static int park_rc;
static void (*park_done)(void *ctx, int rc);
static void *park_ctx;

int machine_pause(struct machine *m, uint64_t timeout_ns, void (*done)(void *ctx, int rc),
		  void *ctx)
{
	(void)m;
	(void)timeout_ns;
	parks++;
	park_done = done;
	park_ctx = ctx;
	return park_rc;
}

void machine_resume(struct machine *m)
{
	(void)m;
	goes_on++;
}

static void parked(int rc)
{
	void (*done)(void *ctx, int rc) = park_done;

	cr_assert_not_null(done, "nobody waits for the vCPUs");
	park_done = NULL;
	done(park_ctx, rc);
}

/* ---- the agent ------------------------------------------------------------------------------- */

static struct {
	uint32_t cmd;
	box_reply_fn *fn;
	uint64_t arg;
} asked[8];
static unsigned asked_cnt;
static int ask_rc;

int box_request(struct box *box, uint32_t cmd, const char *json, box_reply_fn *fn, uint64_t arg)
{
	(void)box;
	cr_assert(strstr(json, "\"container\":\"c1\""), "%s", json);
	if (ask_rc < 0)
		return ask_rc;
	cr_assert_lt(asked_cnt, ARRAY_LEN(asked));
	asked[asked_cnt].cmd = cmd;
	asked[asked_cnt].fn = fn;
	asked[asked_cnt++].arg = arg;
	return 0;
}

static void agent_says(unsigned i, const char *refusal)
{
	const struct box_reply r = {.ok = !refusal, .json = "", .text = refusal, .status = 1};

	cr_assert_lt(i, asked_cnt, "the agent was not asked");
	asked[i].fn(&b, asked[i].arg, &r);
}

/* Nothing here is asked for before the container stands. */
bool box_defer(struct box *box, const struct box_call *c)
{
	(void)box;
	(void)c;
	return false;
}

/* ---- clients and files ----------------------------------------------------------------------- */

static unsigned answers, published;
static char said[160];
static enum state_status status;

void box_answer(struct box *box, proxy_req_t req, int exit_status, const char *text)
{
	(void)box;
	(void)exit_status;
	if (!req)
		return;
	answers++;
	(void)snprintf(said, sizeof(said), "%s", text ? text : "fine");
}

void box_publish(struct box *box, enum state_status s)
{
	(void)box;
	published++;
	status = s;
}

static void setup(void)
{
	struct err e = {0};

	cr_assert_eq(loop_new(&b.loop, 16, &e), 0, "%s", e.msg);
	b.state = &st;
	b.phase = BOX_RUNNING;
	wants_init(&b.wants, b.loop, &(const struct wants_ops){0}, &b);
	box_pause_init(&b);
}

static void teardown(void)
{
	loop_free(b.loop);
}

TestSuite(pause, .init = setup, .fini = teardown, .timeout = 60);

static void pause_it(void)
{
	box_cmd_pause(&b, &(struct box_call){.req = 7});
}

static void resume_it(void)
{
	box_cmd_resume(&b, &(struct box_call){.req = 8});
}

/* Nothing of an attempt is left, and the next one works. */
static void expect_as_before(const char *why)
{
	cr_expect_eq(answers, 1);
	cr_expect(strstr(said, why), "'%s' does not say '%s'", said, why);
	cr_expect(!box_is_paused(&b));
	cr_expect_eq(published, 0, "its status was changed to %d", status);
	ask_rc = park_rc = 0;
	asked_cnt = answers = 0;
	pause_it();
	agent_says(0, NULL);
	parked(0);
	cr_expect_eq(answers, 1);
	cr_expect_str_eq(said, "fine");
	cr_expect_eq(status, STATE_PAUSED);
	cr_expect(box_is_paused(&b));
}

Test(pause, works_and_resumes)
{
	pause_it();
	cr_assert_eq(asked_cnt, 1);
	cr_expect_eq(asked[0].cmd, LINK_PAUSECONTAINER);
	cr_expect_eq(parks, 0); /* the processes first */
	agent_says(0, NULL);
	cr_expect_eq(parks, 1);
	cr_expect_eq(answers, 0);
	parked(0);
	cr_expect_str_eq(said, "fine");
	resume_it();
	cr_expect_eq(goes_on, 1); /* the vCPUs first */
	cr_expect_eq(asked[1].cmd, LINK_RESUMECONTAINER);
	agent_says(1, NULL);
	cr_expect_eq(answers, 2);
	cr_expect_eq(status, STATE_RUNNING);
}

Test(pause, processes_do_not_freeze)
{
	pause_it();
	agent_says(0, "its processes did not freeze within 10000 ms");
	cr_expect_eq(parks, 0);
	/* The agent has let them go again itself. */
	cr_expect_eq(asked_cnt, 1);
	expect_as_before("did not freeze");
}

Test(pause, the_agent_cannot_be_asked)
{
	ask_rc = -ENOTCONN;
	pause_it();
	expect_as_before(strerror(ENOTCONN));
}

/* The processes are frozen, and the vCPUs do not stop: the processes go on. */
Test(pause, vcpus_do_not_stop)
{
	pause_it();
	agent_says(0, NULL);
	parked(-ETIMEDOUT);
	cr_assert_eq(asked_cnt, 2);
	cr_expect_eq(asked[1].cmd, LINK_RESUMECONTAINER);
	cr_expect_eq(goes_on, 1);
	agent_says(1, NULL);
	expect_as_before("did not stop within 10 seconds");
}

Test(pause, vcpus_cannot_be_asked)
{
	park_rc = -ESRCH;
	pause_it();
	agent_says(0, NULL);
	cr_assert_eq(asked_cnt, 2);
	cr_expect_eq(asked[1].cmd, LINK_RESUMECONTAINER);
	expect_as_before(strerror(ESRCH));
}

/* Time runs out while the agent freezes: a late answer does not stop the vCPUs. */
Test(pause, late)
{
	unsigned was;

	pause_it();
	was = parks;
	b.pause.until = clock_ns() - 1;
	loop_cancel(b.loop, &b.pause.timer.op);
	while (answers == 0)
		cr_assert_eq(loop_step(b.loop, true), 0);
	cr_expect_eq(asked[1].cmd, LINK_RESUMECONTAINER);
	agent_says(0, NULL);
	agent_says(1, NULL);
	cr_expect_eq(parks, was);
	expect_as_before("did not stand still and write its files");
}

/* The container's end breaks it at each step. */
Test(pause, broken_off)
{
	pause_it();
	box_pause_break(&b);
	cr_expect_eq(answers, 1);
	cr_expect_str_eq(said, "container not running: it ends");
	agent_says(0, NULL); /* too late */
	cr_expect_eq(parks, 0);
	pause_it();
	agent_says(1, NULL);
	box_pause_break(&b);
	parked(-ECANCELED);
	cr_expect_eq(answers, 2);
	cr_expect(!box_is_paused(&b));
	cr_expect_eq(published, 0);
}

Test(pause, refused)
{
	static const struct {
		enum box_phase phase;
		enum box_prep prep;
		proxy_req_t start;
		const char *why;
	} cases[] = {{BOX_STARTING, BOX_UNMADE, 0, "being started"},
		     {BOX_GATED, BOX_UNMADE, 3, "being started"},
		     {BOX_GATED, BOX_MAKING, 0, "being started"},
		     {BOX_DRAINING, BOX_UNMADE, 0, "not running"},
		     {BOX_ENDING, BOX_UNMADE, 0, "not running"}};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		b.phase = cases[i].phase;
		b.prep = cases[i].prep;
		b.start_req = cases[i].start;
		pause_it();
		cr_expect_eq(answers, i + 1);
		cr_expect(strstr(said, cases[i].why), "%s: %s", cases[i].why, said);
		cr_expect_eq(asked_cnt + parks, 0);
	}
	b.phase = BOX_RUNNING;
	b.start_req = 0;
	resume_it();
	cr_expect_str_eq(said, "container not paused");
}

/* Behind the gate there is nothing to freeze. */
Test(pause, created)
{
	b.phase = BOX_GATED;
	pause_it();
	cr_expect_eq(asked_cnt, 0);
	parked(0);
	cr_expect_str_eq(said, "fine");
	resume_it();
	cr_expect_eq(status, STATE_CREATED);
	cr_expect_eq(answers, 2);
}

/* Whom the agent cannot let go on stays paused, vCPUs and all, and the next attempt may work. */
Test(pause, resume_fails)
{
	pause_it();
	agent_says(0, NULL);
	parked(0);
	resume_it();
	agent_says(1, "thawing container 'c1': Input/output error");
	cr_expect(strstr(said, "thawing container"), "%s", said);
	cr_expect(box_is_paused(&b));
	cr_expect_eq(status, STATE_PAUSED);
	cr_expect_eq(parks, 2);
	parked(0);
	ask_rc = -ENOTCONN;
	resume_it();
	cr_expect_str_eq(said, strerror(ENOTCONN));
	cr_expect_eq(parks, 3);
	parked(0);
	ask_rc = 0;
	resume_it();
	agent_says(2, NULL);
	cr_expect_str_eq(said, "fine");
	cr_expect_eq(status, STATE_RUNNING);
	cr_expect_eq(answers, 4);
}

/* A request wakes the vCPUs; with the last answer they stop again. */
Test(pause, woken)
{
	pause_it();
	agent_says(0, NULL);
	cr_expect(!box_pause_wake(&b)); /* not yet paused: they run anyway */
	parked(0);
	cr_expect(box_pause_wake(&b));
	cr_expect(box_pause_wake(&b));
	cr_expect_eq(goes_on, 2);
	box_pause_rest(&b);
	cr_expect_eq(parks, 1);
	box_pause_rest(&b);
	cr_expect_eq(parks, 2);
	cr_expect(box_is_paused(&b));
}
