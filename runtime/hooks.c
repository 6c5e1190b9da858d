/* SPDX-License-Identifier: Apache-2.0 */
/* OCI hooks. See hooks.h. */
#include "runtime/hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/program.h"

static char **strings(struct json_object *a, const char *first)
{
	size_t n = a ? json_object_array_length(a) : 0, k = 0;
	char **v = calloc(n + 2, sizeof(*v));

	if (!v)
		return NULL;
	if (!n && first)
		v[k++] = strdup(first);
	for (size_t i = 0; i < n; i++)
		v[k++] = strdup(json_object_get_string(json_object_array_get_idx(a, i)));
	return v;
}

static void strings_free(char ***v)
{
	for (char **p = *v; p && *p; p++)
		free(*p);
	free(*v);
}

static int run_one(struct json_object *hook, const char *state, const char *dir, struct err *e)
{
	const char *path = json_str(hook, "path", "");
	CLEANUP(strings_free) char **argv = strings(json_at(hook, "args"), path);
	CLEANUP(strings_free) char **envp = NULL;
	char what[512];
	struct program p = {
	    .what = what,
	    .path = path,
	    .dir = dir,
	    .input = state,
	    .input_len = strlen(state),
	    .timeout_ns = (uint64_t)json_i64(hook, "timeout", 0) * NS_PER_SEC,
	};

	(void)snprintf(what, sizeof(what), "hook %s", path);
	if (json_at(hook, "env"))
		envp = strings(json_at(hook, "env"), NULL);
	if (!argv || (json_at(hook, "env") && !envp))
		return err_set(e, -ENOMEM, "%s: out of memory", what);
	p.argv = argv;
	p.envp = envp;
	return program_run(&p, e);
}

int hooks_run(struct json_object *spec, const char *name, struct json_object *state,
	      const char *dir, struct err *e)
{
	struct json_object *hooks = json_at(json_at(spec, "hooks"), name);
	const char *text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN);

	if (!text)
		return err_set(e, -ENOMEM, "%s: out of memory", name);

	for (size_t i = 0; hooks && i < json_object_array_length(hooks); i++) {
		int rc = run_one(json_object_array_get_idx(hooks, i), text, dir, e);

		if (rc < 0)
			return err_wrap(e, "%s", name), rc;
	}
	return 0;
}

void hooks_run_all(struct json_object *spec, const char *name, struct json_object *state)
{
	struct json_object *hooks = json_at(json_at(spec, "hooks"), name);
	const char *text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN);

	for (size_t i = 0; text && hooks && i < json_object_array_length(hooks); i++) {
		struct err e = {0};

		if (run_one(json_object_array_get_idx(hooks, i), text, NULL, &e) < 0)
			log_warn("%s: %s", name, e.msg);
	}
}
