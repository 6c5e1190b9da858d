/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs pause, resume and ps: one question to the sandbox process each. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/cmds.h"
#include "runtime/pstable.h"
#include "runtime/state.h"

int cmds_query(int dir, const char *op, struct json_object *req, struct json_object **ret,
	       struct err *e)
{
	int status, rc;

	json_add_str(req, "op", op);
	rc = client_query(dir, req, ret, &status, e);
	if (rc == -ECONNREFUSED && !e->code)
		return err_set(e, -ESRCH, "container not running");
	return rc;
}

/* A command that is nothing but its name, to the one container that is named. */
static int simple(struct cli *c, const char *op, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	auto_json req = json_object_new_object();
	auto_json answer = NULL;
	auto_fd dir = -1;
	int rc = cmds_one_id(c, op, e);

	if (rc == 0)
		rc = cmds_open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	rc = cmds_query(dir, op, req, &answer, e);
	return rc < 0 ? err_wrap(e, "%s of container '%s'", op, s.id) : 0;
}

int cmd_pause(struct cli *c, struct err *e)
{
	return simple(c, "pause", e);
}

int cmd_resume(struct cli *c, struct err *e)
{
	return simple(c, "resume", e);
}

/* ---- ps -------------------------------------------------------------------------------------- */

/* The host's processes that stand for the container: engines look at them with the host's ps. */
static int print_pids(int dir, const struct state *s, struct err *e)
{
	auto_json req = json_object_new_object();
	auto_json all = json_object_new_array();
	auto_json answer = NULL;
	struct json_object *more;
	int rc = cmds_query(dir, "pids", req, &answer, e);

	if (rc < 0)
		return rc;
	(void)json_object_array_add(all, json_object_new_int(s->pid));
	more = json_at(answer, "pids");
	for (size_t i = 0; i < json_len(answer, "pids"); i++)
		(void)json_object_array_add(all,
					    json_object_get(json_object_array_get_idx(more, i)));
	(void)printf("%s\n", json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN));
	return 0;
}

/* Of a container that has stopped: the answer with nothing in it. */
static int print_none(bool json, char **words, int cnt, struct err *e)
{
	auto_json none = json_object_new_object();
	struct pstable t;
	int rc = pstable_parse(&t, words, (size_t)cnt, e);

	if (rc < 0)
		return rc;
	if (json)
		return printf("[]\n") < 0 ? err_sys(e, -EIO, "printing") : 0;
	(void)json_object_object_add(none, "processes", json_object_new_array());
	return pstable_print(&t, none, stdout, e);
}

static int print_table(int dir, char **words, int cnt, struct err *e)
{
	auto_json req = json_object_new_object();
	auto_json answer = NULL;
	struct pstable t;
	int rc = pstable_parse(&t, words, (size_t)cnt, e);

	if (rc == 0)
		rc = cmds_query(dir, "ps", req, &answer, e);
	return rc < 0 ? rc : pstable_print(&t, answer, stdout, e);
}

int cmd_ps(struct cli *c, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	bool json = c->o.format && !strcmp(c->o.format, "json");
	auto_fd dir = -1;
	int rc;

	if (c->o.format && !json && strcmp(c->o.format, "table") != 0)
		return err_set(e, -EINVAL, "ps: option --format: expected table or json, not '%s'",
			       c->o.format);
	if (c->argc == 0)
		return err_set(e, -EINVAL, "ps: needs the ID of a container");
	rc = state_check_id(c->argv[0], e);
	if (rc == 0)
		rc = cmds_open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	if (s.status == STATE_CREATING)
		return err_set(e, -ESRCH, "container not running");
	if (s.status == STATE_STOPPED)
		return print_none(json, c->argv + 1, c->argc - 1, e);
	return json ? print_pids(dir, &s, e) : print_table(dir, c->argv + 1, c->argc - 1, e);
}
