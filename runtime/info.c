/* SPDX-License-Identifier: Apache-2.0 */
/* `husk --version` and `husk features`. See info.h. */
#include "runtime/info.h"

#include <errno.h>

#include "base/compiler.h"
#include "runtime/cli.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

#ifndef HUSK_COMMIT
#define HUSK_COMMIT "unknown"
#endif

void info_version(FILE *f)
{
	(void)fprintf(f, "husk version " HUSK_VERSION "\ncommit: " HUSK_COMMIT
			 "\nspec: " SPEC_VERSION "\n");
}

static struct json_object *list(const char *const *names)
{
	struct json_object *a = json_object_new_array();

	for (; *names; names++)
		(void)json_object_array_add(a, json_object_new_string(*names));
	return a;
}

static struct json_object *enabled(bool on)
{
	struct json_object *o = json_object_new_object();

	json_add_bool(o, "enabled", on);
	return o;
}

static struct json_object *linux_features(void)
{
	static const char *const namespaces[] = {"cgroup", "ipc",  "mount", "network", "pid",
						 "time",   "user", "uts",   NULL};
	struct json_object *l = json_object_new_object(), *o;

	(void)json_object_object_add(l, "namespaces", list(namespaces));
	o = json_object_new_object();
	json_add_bool(o, "v1", false);
	json_add_bool(o, "v2", true);
	json_add_bool(o, "systemd", false);
	json_add_bool(o, "systemdUser", false);
	(void)json_object_object_add(l, "cgroup", o);
	o = enabled(true);
	(void)json_object_object_add(o, "actions", list(seccomp_action_names));
	(void)json_object_object_add(o, "operators", list(seccomp_operator_names));
	(void)json_object_object_add(o, "archs", list(seccomp_arch_names));
	(void)json_object_object_add(l, "seccomp", o);
	(void)json_object_object_add(l, "apparmor", enabled(false));
	(void)json_object_object_add(l, "selinux", enabled(false));
	(void)json_object_object_add(l, "intelRdt", enabled(false));
	o = json_object_new_object();
	(void)json_object_object_add(o, "idmap", enabled(false));
	(void)json_object_object_add(l, "mountExtensions", o);
	return l;
}

struct json_object *info_features(void)
{
	static const char *const hooks[] = {"prestart",	 "createRuntime", "createContainer",
					    "poststart", "poststop",	  NULL};
	static const char *const options[] = {
	    "async",   "atime",	      "bind",	  "dev",	"diratime", "dirsync",
	    "exec",    "noatime",     "nodev",	  "nodiratime", "noexec",   "nosuid",
	    "private", "rbind",	      "relatime", "remount",	"ro",	    "rprivate",
	    "rw",      "strictatime", "suid",	  "sync",	NULL};
	struct json_object *o = json_object_new_object();

	json_add_str(o, "ociVersionMin", "1.0.0");
	json_add_str(o, "ociVersionMax", SPEC_VERSION);
	(void)json_object_object_add(o, "hooks", list(hooks));
	(void)json_object_object_add(o, "mountOptions", list(options));
	(void)json_object_object_add(o, "linux", linux_features());
	(void)json_object_object_add(o, "annotations", json_object_new_object());
	return o;
}

int cmd_features(struct cli *c, struct err *e)
{
	auto_json o = NULL;

	if (c->argc)
		return err_set(e, -EINVAL, "features: unexpected argument '%s'", c->argv[0]);
	o = info_features();
	(void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								   JSON_C_TO_STRING_SPACED |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}
