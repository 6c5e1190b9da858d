/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.startContainer (config.md): programs of the container that run in it before its process
 * does. As root with the capabilities of the process's bounding set, without its seccomp filter; in
 * their environment, or the process's where they have none. In the child.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/child.h"
#include "base/clock.h"
#include "base/program.h"

static int become_root(void *arg, struct err *e)
{
	const struct spec_process *p = arg;
	struct spec_process root = {.has_caps = true};
	int rc;

	root.caps[CAPS_BOUNDING] = p->caps[CAPS_BOUNDING];
	root.caps[CAPS_PERMITTED] = p->caps[CAPS_BOUNDING];
	root.caps[CAPS_EFFECTIVE] = p->caps[CAPS_BOUNDING];
	rc = cred_begin(&root, e);
	if (rc < 0)
		return rc;
	rc = cred_finish(&root);
	return rc < 0 ? err_sys(e, rc, "dropping capabilities") : 0;
}

/* What the hook reads (runtime.md, "State"); the pid is what it is inside. */
static struct json_object *state_of(const struct container *c)
{
	struct json_object *o = json_object_new_object(), *v;

	if (!o)
		return NULL;
	if (json_object_object_get_ex(c->spec.json, "ociVersion", &v))
		json_object_object_add(o, "ociVersion", json_object_get(v));
	json_object_object_add(o, "id", json_object_new_string(c->id));
	json_object_object_add(o, "status", json_object_new_string("created"));
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	json_object_object_add(o, "bundle", json_object_new_string(c->bundle));
	if (json_object_object_get_ex(c->spec.json, "annotations", &v))
		json_object_object_add(o, "annotations", json_object_get(v));
	return o;
}

static int run_hook(const struct container *c, const struct spec_hook *h, const char *state,
		    struct err *e)
{
	const struct spec_process *process = &c->spec.process;
	const char *alone[] = {h->path, NULL};
	const char **argv = h->args[0] ? h->args : alone;
	const char **env = h->has_env ? h->env : process->env;
	char what[512];
	struct program p = {
	    .what = what,
	    .path = h->path,
	    .argv = (char *const *)(uintptr_t)argv,
	    .envp = (char *const *)(uintptr_t)env,
	    .dir = "/",
	    .input = state,
	    .input_len = strlen(state),
	    .timeout_ns = h->timeout * NS_PER_SEC,
	    .prepare = become_root,
	    .arg = (void *)(uintptr_t)process,
	};

	(void)snprintf(what, sizeof(what), "startContainer: hook %s", h->path);
	return program_run(&p, e);
}

int starthooks_run(const struct container *c, struct err *e)
{
	auto_json o = NULL;
	const char *text;
	int rc = 0;

	if (!c->spec.hooks_cnt)
		return 0;
	o = state_of(c);
	text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : NULL;
	if (!text)
		return err_set(e, -ENOMEM, "hooks: out of memory");
	for (size_t i = 0; rc == 0 && i < c->spec.hooks_cnt; i++)
		rc = run_hook(c, &c->spec.hooks[i], text, e);
	return rc;
}
