/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: top level, mounts, process. See spec.h. */
#include "agent/spec.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>

#include "base/capname.h"
#include "base/cpulist.h"
#include "base/fd.h"
#include "base/guestfs.h"

#define IOPRIO_CLASS_SHIFT 13

int gspec_writes_add(struct spec_writes *w, const char *file, const char *fmt, ...)
{
	struct spec_write *v = reallocarray(w->v, w->cnt + 1, sizeof(*v));
	va_list ap;
	int n;

	if (!v)
		return -ENOMEM;
	w->v = v;
	v += w->cnt;
	v->file = strdup(file);
	va_start(ap, fmt);
	n = vasprintf(&v->value, fmt, ap);
	va_end(ap);
	if (!v->file || n < 0) {
		free(v->file);
		if (n >= 0)
			free(v->value);
		return -ENOMEM;
	}
	w->cnt++;
	return 0;
}

static void writes_free(struct spec_writes *w)
{
	for (size_t i = 0; i < w->cnt; i++) {
		free(w->v[i].file);
		free(w->v[i].value);
	}
	free(w->v);
}

void gspec_free_process(struct spec_process *p)
{
	free(p->args);
	free(p->env);
	free(p->groups);
	memset(p, 0, sizeof(*p));
}

void gspec_free(struct spec *s)
{
	gspec_free_process(&s->process);
	writes_free(&s->sysctls);
	writes_free(&s->cgroup);
	free(s->mounts);
	free(s->masked);
	free(s->readonly);
	free(s->devices);
	free(s->devrules);
	free(s->uids.v);
	free(s->gids.v);
	for (size_t i = 0; i < s->hooks_cnt; i++) {
		free(s->hooks[i].args);
		free(s->hooks[i].env);
	}
	free(s->hooks);
	json_object_put(s->json);
	memset(s, 0, sizeof(*s));
}

static int parse_user(struct json_object *o, struct spec_process *p, struct err *e)
{
	struct json_object *groups = NULL;
	int64_t uid = 0, gid = 0, mask = -1;
	int rc;

	/* (uid_t)-1 means "unchanged" to the kernel. */
	rc = js_int(o, "uid", 0, UINT_MAX - 1, &uid, e);
	if (rc == 0)
		rc = js_int(o, "gid", 0, UINT_MAX - 1, &gid, e);
	if (rc == 0)
		rc = js_int(o, "umask", 0, 0777, &mask, e);
	if (rc == 0)
		rc = js_arr(o, "additionalGids", &groups, e);
	if (rc < 0)
		return rc;
	p->uid = (uid_t)uid;
	p->gid = (gid_t)gid;
	p->has_umask = mask >= 0;
	p->umask = mask >= 0 ? (mode_t)mask : 0;
	p->groups_cnt = js_len(groups);
	p->groups = calloc(p->groups_cnt + 1, sizeof(*p->groups));
	if (!p->groups)
		return err_set(e, -ENOMEM, "additionalGids: out of memory");
	for (size_t i = 0; i < p->groups_cnt; i++) {
		struct json_object *v = json_object_array_get_idx(groups, i);
		int64_t n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;

		if (n < 0 || n >= UINT_MAX)
			return err_set(e, -EINVAL, "additionalGids: element %zu is not a group id",
				       i);
		p->groups[i] = (gid_t)n;
	}
	return 0;
}

static int parse_caps(struct json_object *o, struct spec_process *p, struct err *e)
{
	static const char *const keys[CAPS_SETS] = {
	    [CAPS_BOUNDING] = "bounding",   [CAPS_EFFECTIVE] = "effective",
	    [CAPS_PERMITTED] = "permitted", [CAPS_INHERITABLE] = "inheritable",
	    [CAPS_AMBIENT] = "ambient",
	};

	p->has_caps = true;
	for (int k = 0; k < CAPS_SETS; k++) {
		struct json_object *arr = NULL;
		int rc = js_arr(o, keys[k], &arr, e);

		for (size_t i = 0; rc == 0 && i < js_len(arr); i++) {
			const char *name;
			int n;

			rc = js_at_str(arr, i, keys[k], &name, e);
			if (rc < 0)
				break;
			n = capname_number(name);
			/* Those that are unknown the host has told about. */
			if (n >= 0)
				p->caps[k] |= 1ull << n;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int parse_rlimits(struct json_object *arr, struct spec_process *p, struct err *e)
{
	for (size_t i = 0; i < js_len(arr); i++) {
		struct spec_rlimit r = {0};
		struct json_object *o = NULL;
		const char *name = "";
		int rc = js_at_obj(arr, i, "rlimits", &o, e);

		if (rc == 0)
			rc = js_str(o, "type", &name, e);
		if (rc == 0)
			rc = js_u64(o, "soft", &r.soft, e);
		if (rc == 0)
			rc = js_u64(o, "hard", &r.hard, e);
		if (rc < 0)
			return rc;
		r.res = rlimit_number(name);
		if (r.res < 0)
			return err_set(e, -EINVAL, "rlimit '%s': unknown", name);
		if (r.soft > r.hard)
			return err_set(e, -EINVAL, "rlimit %s: soft limit above the hard one",
				       name);
		for (size_t j = 0; j < p->rlimits_cnt; j++)
			if (p->rlimits[j].res == r.res)
				return err_set(e, -EINVAL, "rlimit %s: given twice", name);
		p->rlimits[p->rlimits_cnt++] = r; /* no duplicates: it fits */
	}
	return 0;
}

static int parse_ioprio(struct json_object *o, struct spec_process *p, struct err *e)
{
	static const char *const classes[] = {"", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE",
					      "IOPRIO_CLASS_IDLE"};
	const char *cls = "";
	int64_t prio = 0;
	int rc = js_str(o, "class", &cls, e);

	if (rc == 0)
		rc = js_int(o, "priority", 0, 7, &prio, e);
	if (rc < 0)
		return rc;
	for (int i = 1; i < (int)ARRAY_LEN(classes); i++) {
		if (strcmp(cls, classes[i]) == 0) {
			p->ioprio = i << IOPRIO_CLASS_SHIFT | (int)prio;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "ioPriority.class '%s': unknown", cls);
}

static int parse_sched(struct json_object *o, struct spec_sched *s, struct err *e)
{
	static const struct {
		const char *name;
		uint32_t policy;
	} policies[] = {
	    {"SCHED_OTHER", SCHED_OTHER},
	    {"SCHED_FIFO", SCHED_FIFO},
	    {"SCHED_RR", SCHED_RR},
	    {"SCHED_BATCH", SCHED_BATCH},
	    {"SCHED_IDLE", SCHED_IDLE},
	    {"SCHED_DEADLINE", 6},
	    {"SCHED_ISO", 4},
	};
	static const struct {
		const char *name;
		uint64_t bit;
	} flags[] = {
	    {"SCHED_FLAG_RESET_ON_FORK", 0x01},	 {"SCHED_FLAG_RECLAIM", 0x02},
	    {"SCHED_FLAG_DL_OVERRUN", 0x04},	 {"SCHED_FLAG_KEEP_POLICY", 0x08},
	    {"SCHED_FLAG_KEEP_PARAMS", 0x10},	 {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
	    {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
	};
	struct json_object *arr = NULL;
	const char *name = "";
	int64_t nice = 0, prio = 0;
	size_t k;
	int rc = js_str(o, "policy", &name, e);

	rc = rc ? rc : js_int(o, "nice", -20, 19, &nice, e);
	rc = rc ? rc : js_int(o, "priority", 0, 99, &prio, e);
	rc = rc ? rc : js_u64(o, "runtime", &s->runtime, e);
	rc = rc ? rc : js_u64(o, "deadline", &s->deadline, e);
	rc = rc ? rc : js_u64(o, "period", &s->period, e);
	rc = rc ? rc : js_arr(o, "flags", &arr, e);
	if (rc < 0)
		return rc;
	for (k = 0; k < ARRAY_LEN(policies) && strcmp(name, policies[k].name) != 0; k++)
		;
	if (k == ARRAY_LEN(policies))
		return err_set(e, -EINVAL, "scheduler.policy '%s': unknown", name);
	s->policy = policies[k].policy;
	for (size_t i = 0; i < js_len(arr); i++) {
		rc = js_at_str(arr, i, "scheduler.flags", &name, e);
		if (rc < 0)
			return rc;
		for (k = 0; k < ARRAY_LEN(flags) && strcmp(name, flags[k].name) != 0; k++)
			;
		if (k == ARRAY_LEN(flags))
			return err_set(e, -EINVAL, "scheduler flag '%s': unknown", name);
		s->flags |= flags[k].bit;
	}
	s->nice = (int32_t)nice;
	s->prio = (uint32_t)prio;
	s->set = true;
	return 0;
}

static void add_cpus(void *arg, unsigned first, unsigned last)
{
	cpu_set_t *set = arg;

	/* What no kernel of ours has is none of the guest's either. */
	for (unsigned i = first; i <= last && i < CPU_SETSIZE; i++)
		CPU_SET(i, set);
}

/* A process is in its cgroup from the start: the final one holds, or the initial one alone. */
static int parse_affinity(struct json_object *o, struct spec_cpus *c, struct err *e)
{
	static const char *const keys[] = {"initial", "final"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *list = "";
		int rc = js_str(o, keys[i], &list, e);

		if (rc < 0)
			return rc;
		if (!list[0])
			continue;
		CPU_ZERO(&c->cpus);
		c->set = true;
		if (cpulist_parse(list, add_cpus, &c->cpus) < 0)
			return err_set(e, -EINVAL, "execCPUAffinity.%s: '%.64s' is no list of CPUs",
				       keys[i], list);
	}
	return 0;
}

static int parse_process_extras(struct json_object *o, struct spec_process *p, struct err *e)
{
	struct json_object *sub = NULL;
	int64_t rows = 0, cols = 0;
	int rc = js_obj(o, "consoleSize", &sub, e);

	if (rc == 0 && sub) {
		rc = js_int(sub, "height", 0, UINT16_MAX, &rows, e);
		if (rc == 0)
			rc = js_int(sub, "width", 0, UINT16_MAX, &cols, e);
		p->rows = (uint16_t)rows;
		p->cols = (uint16_t)cols;
	}
	sub = NULL;
	if (rc == 0)
		rc = js_obj(o, "ioPriority", &sub, e);
	if (rc == 0 && sub)
		rc = parse_ioprio(sub, p, e);
	sub = NULL;
	if (rc == 0)
		rc = js_obj(o, "scheduler", &sub, e);
	if (rc == 0 && sub)
		rc = parse_sched(sub, &p->sched, e);
	sub = NULL;
	rc = rc ? rc : js_obj(o, "execCPUAffinity", &sub, e);
	return rc == 0 && sub ? parse_affinity(sub, &p->cpus, e) : rc;
}

int gspec_parse_process(struct json_object *o, struct spec_process *p, struct err *e)
{
	struct json_object *user = NULL, *caps = NULL, *limits = NULL;
	int64_t oom = 0;
	size_t argc = 0;
	int rc;

	memset(p, 0, sizeof(*p));
	p->ioprio = -1;
	rc = js_bool(o, "terminal", &p->terminal, e);
	rc = rc ? rc : js_str(o, "cwd", &p->cwd, e);
	rc = rc ? rc : js_strv(o, "args", &p->args, &argc, NULL, e);
	rc = rc ? rc : js_strv(o, "env", &p->env, NULL, NULL, e);
	rc = rc ? rc : js_bool(o, "noNewPrivileges", &p->no_new_privs, e);
	rc = rc ? rc : js_int(o, "oomScoreAdj", -1000, 1000, &oom, e);
	rc = rc ? rc : js_obj(o, "user", &user, e);
	rc = rc ? rc : js_obj(o, "capabilities", &caps, e);
	rc = rc ? rc : js_arr(o, "rlimits", &limits, e);
	if (rc == 0 && user)
		rc = parse_user(user, p, e);
	if (rc == 0 && caps)
		rc = parse_caps(caps, p, e);
	rc = rc ? rc : parse_rlimits(limits, p, e);
	rc = rc ? rc : parse_process_extras(o, p, e);
	if (rc == 0 && argc == 0)
		rc = err_set(e, -EINVAL, "args: empty");
	if (rc == 0 && (!p->cwd || p->cwd[0] != '/'))
		rc = err_set(e, -EINVAL, "cwd: '%s' is not an absolute path", p->cwd ? p->cwd : "");
	p->has_oom = js_has(o, "oomScoreAdj");
	p->oom_score_adj = (int)oom;
	return rc < 0 ? err_wrap(e, "process") : 0;
}

static int parse_mount(struct json_object *o, struct spec_mount *m, struct err *e)
{
	struct json_object *arr = NULL;
	int rc;

	m->type = "";
	rc = js_str(o, "destination", &m->dest, e);
	rc = rc ? rc : js_str(o, "type", &m->type, e);
	rc = rc ? rc : js_str(o, "source", &m->source, e);
	rc = rc ? rc : js_arr(o, "options", &arr, e);
	if (rc < 0)
		return rc;
	if (!m->dest || !m->dest[0])
		return err_set(e, -EINVAL, "no destination");
	for (size_t i = 0; i < js_len(arr); i++) {
		const char *opt;

		rc = js_at_str(arr, i, "options", &opt, e);
		rc = rc ? rc : mountopt_add(&m->opt, opt, e);
		if (rc < 0)
			return err_wrap(e, "%s", m->dest);
	}
	if (js_has(o, "uidMappings") || js_has(o, "gidMappings"))
		return err_set(e, -EOPNOTSUPP, "%s: id-mapped mounts are not supported", m->dest);
	m->repeat = m->opt.bind || !guestfs_is(m->type);
	return 0;
}

static int parse_mounts(struct json_object *arr, struct spec *s, struct err *e)
{
	s->mounts_cnt = js_len(arr);
	s->mounts = calloc(s->mounts_cnt + 1, sizeof(*s->mounts));
	if (!s->mounts)
		return err_set(e, -ENOMEM, "mounts: out of memory");
	for (size_t i = 0; i < s->mounts_cnt; i++) {
		struct json_object *o = NULL;
		int rc = js_at_obj(arr, i, "mounts", &o, e);

		rc = rc ? rc : parse_mount(o, &s->mounts[i], e);
		if (rc < 0)
			return err_wrap(e, "mount %zu", i);
	}
	return 0;
}

static int parse_hook(struct json_object *o, struct spec_hook *h, struct err *e)
{
	int64_t timeout = 0;
	int rc = js_str(o, "path", &h->path, e);

	rc = rc ? rc : js_strv(o, "args", &h->args, NULL, NULL, e);
	rc = rc ? rc : js_strv(o, "env", &h->env, NULL, &h->has_env, e);
	rc = rc ? rc : js_int(o, "timeout", 1, UINT_MAX, &timeout, e);
	if (rc == 0 && (!h->path || h->path[0] != '/'))
		rc = err_set(e, -EINVAL, "path: '%s' is not absolute", h->path ? h->path : "");
	h->timeout = (uint64_t)timeout;
	return rc;
}

static int parse_hooks(struct json_object *hooks, struct spec *s, struct err *e)
{
	struct json_object *arr = NULL;
	int rc = js_arr(hooks, "startContainer", &arr, e);

	if (rc < 0)
		return rc;
	s->hooks = calloc(js_len(arr) + 1, sizeof(*s->hooks));
	if (!s->hooks)
		return err_set(e, -ENOMEM, "hooks: out of memory");
	for (size_t i = 0; rc == 0 && i < js_len(arr); i++) {
		struct json_object *o = NULL;

		s->hooks_cnt++;
		rc = js_at_obj(arr, i, "startContainer", &o, e);
		rc = rc ? rc : parse_hook(o, &s->hooks[i], e);
		if (rc < 0)
			return err_wrap(e, "hooks.startContainer[%zu]", i);
	}
	return rc;
}

int gspec_parse(struct json_object *json, struct spec *s, struct err *e)
{
	struct json_object *root = NULL, *mounts = NULL, *lin = NULL, *proc = NULL, *hooks = NULL;
	int rc;

	memset(s, 0, sizeof(*s));
	s->json = json_object_get(json);
	rc = js_obj(json, "root", &root, e);
	rc = rc ? rc : js_arr(json, "mounts", &mounts, e);
	rc = rc ? rc : js_obj(json, "linux", &lin, e);
	rc = rc ? rc : js_obj(json, "process", &proc, e);
	rc = rc ? rc : js_obj(json, "hooks", &hooks, e);
	rc = rc ? rc : js_str(json, "hostname", &s->hostname, e);
	rc = rc ? rc : js_str(json, "domainname", &s->domainname, e);
	if (rc == 0 && root)
		rc = js_bool(root, "readonly", &s->readonly_root, e);
	if (rc == 0 && hooks)
		rc = parse_hooks(hooks, s, e);
	rc = rc ? rc : parse_mounts(mounts, s, e);
	if (rc == 0 && lin)
		rc = gspec_parse_linux(lin, s, e);
	if (rc == 0 && proc) {
		rc = gspec_parse_process(proc, &s->process, e);
		s->has_process = true;
	}
	return rc;
}
