/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verb update: the limits change inside the guest, where they hold exactly, then on the host,
 * where they hold with the VM's overhead, and in the container's copy of config.json. What the guest
 * refuses changes nothing; what the host refuses is taken back in the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "runtime/cgroup.h"
#include "runtime/cli.h"
#include "runtime/cmds.h"
#include "runtime/spec.h"
#include "runtime/state.h"
#include "runtime/update_spec.h"

#define RESOURCES_MAX (1u << 20)

struct update {
	struct cli *c;
	struct state s;
	int dir;
	struct json_object *spec;    /* the container's */
	struct json_object *all;     /* its linux.resources as they become */
	struct json_object *changed; /* what of it is new */
	uint64_t memory;	     /* of the VM, bytes; 0 = as it is */
	bool grows;
};

static bool any_flag(const struct update_flags *f)
{
	const char *const *p = (const char *const *)f;

	for (size_t i = 0; i < sizeof(*f) / sizeof(*p); i++)
		if (p[i])
			return true;
	return false;
}

static int read_change(const struct cli_opts *o, struct json_object **ret, struct err *e)
{
	auto_free char *text = NULL;
	size_t len = 0;
	int rc;

	if (!o->resources)
		return update_from_flags(&o->update, ret, e);
	if (any_flag(&o->update))
		return err_set(
		    e, -EINVAL,
		    "update: --resources and flags for single limits exclude each other");
	if (!strcmp(o->resources, "-"))
		rc = fd_read_all(0, RESOURCES_MAX, &text, &len);
	else
		rc = fd_read_file(AT_FDCWD, o->resources, RESOURCES_MAX, &text, &len);
	if (rc < 0)
		return err_sys(e, rc, "update: resources '%s'", o->resources);
	return update_from_text(text, len, ret, e);
}

static int read_spec(struct update *u, struct err *e)
{
	auto_free char *text = NULL;
	size_t len = 0;
	int rc = fd_read_file(u->dir, STATE_SPEC, SPEC_SIZE_MAX, &text, &len);

	if (rc < 0)
		return err_sys(e, rc, STATE_SPEC);
	return json_parse(text, len, STATE_SPEC, &u->spec, e);
}

static int write_spec(const struct update *u, struct err *e)
{
	struct json_object *lin = json_at(u->spec, "linux");
	const char *text;
	int rc;

	if (!lin || json_object_object_add(lin, "resources", json_object_get(u->all)) < 0)
		return err_set(e, -EINVAL, STATE_SPEC ": no section 'linux'");
	text = json_object_to_json_string_ext(u->spec, JSON_C_TO_STRING_PLAIN |
							   JSON_C_TO_STRING_NOSLASHESCAPE);
	rc = text ? fd_replace_file(u->dir, STATE_SPEC, text, strlen(text), 0600) : -ENOMEM;
	return rc < 0 ? err_sys(e, rc, STATE_SPEC) : 0;
}

/* The VM is to have what a limit takes, and what guest kernel and agent need beside it. */
static int size_vm(struct update *u, struct err *e)
{
	int64_t limit = json_i64(u->changed, "memory.limit", 0);
	const struct config *conf;
	uint64_t want;
	int rc = cli_config(u->c->g, &conf, e);

	/* Without a limit it keeps what it has. */
	if (rc < 0 || limit <= 0 || !u->s.size.memory)
		return rc;
	want = sizing_memory(limit, conf, u->s.size.memory_max);
	if ((uint64_t)limit > want)
		return err_set(e, -ERANGE,
			       "memory limit %" PRId64 " is beyond what the VM may have: %" PRIu64
			       " MiB (memory.max of "
			       "husk.conf, or the host's)",
			       limit, u->s.size.memory_max >> 20);
	u->memory = want;
	u->grows = want > u->s.size.memory;
	return 0;
}

static int tell_guest(const struct update *u, struct json_object *changed, struct json_object *all,
		      struct err *e)
{
	auto_json req = json_object_new_object();
	auto_json answer = NULL;

	(void)json_object_object_add(req, "resources", json_object_get(changed));
	(void)json_object_object_add(req, "all", json_object_get(all));
	if (changed == u->changed && u->memory)
		json_add_i64(req, "memory", (int64_t)u->memory);
	return cmds_query(u->dir, "update", req, &answer, e);
}

/* What the kernel has where nobody said anything. */
static int64_t no_limit(const char *key)
{
	static const struct {
		const char *key;
		int64_t v;
	} known[] = {{"shares", 1024}, {"period", 100000}, {"burst", 0}, {"idle", 0}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!strcmp(key, known[i].key))
			return known[i].v;
	return -1;
}

/* What @changed touches, as it was before. What was not limited then is not again. */
static struct json_object *before(struct json_object *changed, struct json_object *was)
{
	struct json_object *o = json_object_new_object();

	json_object_object_foreach(changed, sect, keys)
	{
		struct json_object *to, *old = was ? json_at(was, sect) : NULL;

		if (!json_object_is_type(keys, json_type_object)) {
			if (old)
				(void)json_object_object_add(o, sect, json_object_get(old));
			continue;
		}
		to = json_object_new_object();
		(void)json_object_object_add(o, sect, to);
		json_object_object_foreach(keys, key, v)
		{
			struct json_object *is = NULL;

			if (old && json_object_object_get_ex(old, key, &is) && is)
				(void)json_object_object_add(to, key, json_object_get(is));
			else if (json_object_is_type(v, json_type_int))
				json_add_i64(to, key, no_limit(key));
		}
	}
	return o;
}

/* The host's limits of what @resources says, for a VM of @memory bytes. */
static int tell_host(const struct update *u, struct json_object *resources, uint64_t memory,
		     struct err *e)
{
	CLEANUP(cgroup_free) struct cgroup cg = {0};
	struct sizing size = u->s.size;
	struct cglimits limits;
	int rc;

	size.memory = memory;
	rc = cglimits_of(&limits, resources, &size, e);
	if (rc == 0)
		rc = cgroup_from_json(&cg, u->s.cgroup, e);
	return rc < 0 ? rc : cgroup_apply(&cg, &limits, e);
}

/* The host's limit gives way before the VM grows; else the guest, which may refuse, comes first. */
static int apply(struct update *u, struct err *e)
{
	struct json_object *was = json_at(u->spec, "linux.resources");
	auto_json old = before(u->changed, was);
	auto_json old_all = was ? json_object_get(was) : json_object_new_object();
	struct err ignored = {0};
	struct cglimits limits;
	int rc = cglimits_of(&limits, u->changed, &u->s.size, e); /* is it in order? */

	if (rc == 0 && u->grows)
		rc = tell_host(u, u->changed, u->memory, e);
	if (rc < 0)
		return rc;
	rc = tell_guest(u, u->changed, u->all, e);
	if (rc < 0) {
		if (u->grows && tell_host(u, old, u->s.size.memory, &ignored) < 0)
			log_warn("update: the host keeps the new limits: %s", ignored.msg);
		return rc;
	}
	if (!u->grows)
		rc = tell_host(u, u->changed, u->s.size.memory, e);
	if (rc == 0)
		rc = write_spec(u, e);
	if (rc < 0 && tell_guest(u, old, old_all, &ignored) < 0)
		log_warn("update: the guest keeps the new limits: %s", ignored.msg);
	return rc;
}

static int update(struct update *u, struct err *e)
{
	auto_json change = NULL;
	int rc = cmds_one_id(u->c, "update", e);

	if (rc == 0)
		rc = read_change(&u->c->o, &change, e);
	if (rc == 0)
		rc = cmds_open_state(u->c, u->c->argv[0], &u->dir, &u->s, e);
	/* One at a time: each begins with what the last one has left. */
	if (rc == 0)
		rc = state_lock(u->dir, u->c->argv[0], e);
	if (rc < 0)
		return rc;
	if (u->s.status == STATE_STOPPED || u->s.status == STATE_CREATING)
		return err_set(e, -ESRCH, "container not running");
	rc = read_spec(u, e);
	if (rc == 0)
		rc = update_merge(json_at(u->spec, "linux.resources"), change, &u->all, &u->changed,
				  e);
	if (rc == 0 && json_object_object_length(u->changed) == 0)
		return 0;
	if (rc == 0)
		rc = size_vm(u, e);
	return rc < 0 ? rc : apply(u, e);
}

int cmd_update(struct cli *c, struct err *e)
{
	struct update u = {.c = c, .dir = -1};
	int rc = update(&u, e);

	json_put_ptr(&u.spec);
	json_put_ptr(&u.all);
	json_put_ptr(&u.changed);
	state_free(&u.s);
	fd_close(&u.dir);
	return rc;
}
