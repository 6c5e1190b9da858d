/* SPDX-License-Identifier: Apache-2.0 */
/* See exec_spec.h. */
#include "runtime/exec_spec.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/fd.h"
#include "runtime/spec.h"

static const struct json_rule rules[] = {
    {"terminal", JSON_BOOL, false},
    {"args", JSON_STRS, true},
    {"env", JSON_STRS, false},
    {"cwd", JSON_STR, true},
    {"noNewPrivileges", JSON_BOOL, false},
    {"oomScoreAdj", JSON_I64, false},
    {"apparmorProfile", JSON_STR, false},
    {"selinuxLabel", JSON_STR, false},
    {"consoleSize", JSON_OBJ, false},
    {"consoleSize.height", JSON_U32, false},
    {"consoleSize.width", JSON_U32, false},
    {"user", JSON_OBJ, false},
    {"user.uid", JSON_U32, false},
    {"user.gid", JSON_U32, false},
    {"user.additionalGids", JSON_U32S, false},
    {"capabilities", JSON_OBJ, false},
    {"capabilities.bounding", JSON_STRS, false},
    {"capabilities.effective", JSON_STRS, false},
    {"capabilities.permitted", JSON_STRS, false},
    {"capabilities.inheritable", JSON_STRS, false},
    {"capabilities.ambient", JSON_STRS, false},
    {"rlimits", JSON_OBJS, false},
};

/* What is right for every process, wherever it comes from. The rest is for the agent to judge. */
static int check(struct json_object *p, struct err *e)
{
	const char *cwd = json_str(p, "cwd", "");

	if (json_len(p, "args") == 0)
		return err_set(e, -EINVAL, "process: args must not be empty");
	if (cwd[0] != '/')
		return err_set(e, -EINVAL, "process: cwd '%s' must be an absolute path", cwd);
	return 0;
}

static void inherit(struct json_object *p, struct json_object *spec, const char *key)
{
	struct json_object *of = json_at(json_at(spec, "process"), key);

	if (of && !json_at(p, key))
		(void)json_object_object_add(p, key, json_object_get(of));
}

int exec_spec_from_text(struct json_object *spec, const char *text, size_t len,
			struct json_object **ret, struct err *e)
{
	auto_json p = NULL;
	int rc = json_parse(text, len, "process", &p, e);

	if (rc == 0)
		rc = json_check(p, "process", rules, ARRAY_LEN(rules), e);
	if (rc == 0)
		rc = check(p, e);
	if (rc == 0)
		rc = spec_check_labels(p, "process", e);
	if (rc < 0)
		return rc;
	inherit(p, spec, "rlimits");
	inherit(p, spec, "oomScoreAdj");
	*ret = ptr_take(p);
	return 0;
}

/* ---- from the command line ------------------------------------------------------------------- */

/* A whole decimal number of 32 bits. */
static int number(const char *s, size_t len, int64_t *ret)
{
	uint64_t v = 0;

	if (!len || len > 10)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	/* The last one means "nobody" to setresuid(). */
	if (v >= UINT32_MAX)
		return -EINVAL;
	*ret = (int64_t)v;
	return 0;
}

static void set(struct json_object *o, const char *key, struct json_object *v)
{
	(void)json_object_object_add(o, key, v);
}

/* The object or array at @key, made if it is missing. */
static struct json_object *sub(struct json_object *o, const char *key,
			       struct json_object *(*make)(void))
{
	struct json_object *s = json_at(o, key);

	if (!s) {
		s = make();
		set(o, key, s);
	}
	return s;
}

static int set_user(struct json_object *user, const char *text, struct err *e)
{
	size_t n = strcspn(text, ":");
	int64_t id;

	if (number(text, n, &id) < 0)
		return err_set(e, -EINVAL,
			       "option --user: expected UID or UID:GID in numbers, not '%s'", text);
	set(user, "uid", json_object_new_int64(id));
	if (!text[n])
		return 0;
	if (number(text + n + 1, strlen(text + n + 1), &id) < 0)
		return err_set(e, -EINVAL,
			       "option --user: expected UID or UID:GID in numbers, not '%s'", text);
	set(user, "gid", json_object_new_int64(id));
	return 0;
}

static int add_gids(struct json_object *user, const struct opt_values *gids, struct err *e)
{
	struct json_object *to = sub(user, "additionalGids", json_object_new_array);

	for (size_t i = 0; i < gids->cnt; i++) {
		int64_t id;

		if (number(gids->v[i], strlen(gids->v[i]), &id) < 0)
			return err_set(e, -EINVAL,
				       "option --additional-gids: expected a number, not '%s'",
				       gids->v[i]);
		(void)json_object_array_add(to, json_object_new_int64(id));
	}
	return 0;
}

static void add_strings(struct json_object *to, const struct opt_values *v)
{
	for (size_t i = 0; i < v->cnt; i++)
		(void)json_object_array_add(to, json_object_new_string(v->v[i]));
}

static void add_caps(struct json_object *p, const struct opt_values *v)
{
	static const char *const sets[] = {"bounding", "effective", "permitted"};
	struct json_object *caps = sub(p, "capabilities", json_object_new_object);

	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		add_strings(sub(caps, sets[i], json_object_new_array), v);
}

int exec_spec_from_flags(struct json_object *spec, const struct exec_flags *f,
			 struct json_object **ret, struct err *e)
{
	struct json_object *of = json_at(spec, "process"), *user, *args;
	struct json_object *copy = NULL;
	auto_json p = NULL;
	int rc = 0;

	if (!of)
		return err_set(e, -EINVAL, "the container's config.json has no process");
	if (json_object_deep_copy(of, &copy, NULL) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	p = copy;
	args = json_object_new_array();
	for (size_t i = 0; i < f->arg_cnt; i++)
		(void)json_object_array_add(args, json_object_new_string(f->args[i]));
	set(p, "args", args);
	set(p, "terminal", json_object_new_boolean(f->tty));
	json_object_object_del(p, "consoleSize"); /* that was another terminal's */
	if (f->cwd)
		set(p, "cwd", json_object_new_string(f->cwd));
	if (f->no_new_privs)
		set(p, "noNewPrivileges", json_object_new_boolean(true));
	add_strings(sub(p, "env", json_object_new_array), &f->env);
	if (f->caps.cnt)
		add_caps(p, &f->caps);
	user = sub(p, "user", json_object_new_object);
	if (f->user)
		rc = set_user(user, f->user, e);
	if (rc == 0 && f->gids.cnt)
		rc = add_gids(user, &f->gids, e);
	if (rc == 0)
		rc = check(p, e);
	if (rc == 0)
		*ret = ptr_take(p);
	return rc;
}
