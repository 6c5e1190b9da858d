/* SPDX-License-Identifier: Apache-2.0 */
/* `husk --version` and `husk features`. See info.h. */
#include "runtime/info.h"

#include <errno.h>

#include "base/capname.h"
#include "base/compiler.h"
#include "runtime/annot.h"
#include "runtime/cli.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

#ifndef HUSK_COMMIT
#define HUSK_COMMIT "unknown"
#endif

const char *info_commit(void)
{
	return HUSK_COMMIT;
}

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
	(void)json_object_object_add(l, "capabilities", list(capname_all));
	o = json_object_new_object();
	json_add_bool(o, "v1", true);
	json_add_bool(o, "v2", true);
	json_add_bool(o, "systemd", true);
	json_add_bool(o, "systemdUser", false);
	(void)json_object_object_add(l, "cgroup", o);
	o = enabled(true);
	(void)json_object_object_add(o, "actions", list(seccomp_action_names));
	(void)json_object_object_add(o, "operators", list(seccomp_operator_names));
	(void)json_object_object_add(o, "archs", list(seccomp_arch_names));
	(void)json_object_object_add(o, "knownFlags", list(seccomp_flag_names));
	(void)json_object_object_add(o, "supportedFlags", list(seccomp_flag_names));
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
	/* Those that change a VM; ending in a dot, a prefix. */
	static const char *const unsafe[] = {ANNOT_PREFIX, NULL};
	static const char *const hooks[] = {"prestart",
					    "createRuntime",
					    "createContainer",
					    "startContainer",
					    "poststart",
					    "poststop",
					    NULL};
	static const char *const options[] = {"async",
					      "atime",
					      "bind",
					      "defaults",
					      "dev",
					      "diratime",
					      "dirsync",
					      "exec",
					      "iversion",
					      "lazytime",
					      "loud",
					      "mand",
					      "noatime",
					      "nodev",
					      "nodiratime",
					      "noexec",
					      "noiversion",
					      "nolazytime",
					      "nomand",
					      "norelatime",
					      "nostrictatime",
					      "nosuid",
					      "nosymfollow",
					      "private",
					      "rbind",
					      "ratime",
					      "rdev",
					      "rdiratime",
					      "relatime",
					      "remount",
					      "rexec",
					      "rnoatime",
					      "rnodev",
					      "rnodiratime",
					      "rnoexec",
					      "rnorelatime",
					      "rnostrictatime",
					      "rnosuid",
					      "rnosymfollow",
					      "ro",
					      "rprivate",
					      "rrelatime",
					      "rro",
					      "rrw",
					      "rshared",
					      "rslave",
					      "rstrictatime",
					      "rsuid",
					      "rsymfollow",
					      "runbindable",
					      "rw",
					      "shared",
					      "silent",
					      "slave",
					      "strictatime",
					      "suid",
					      "symfollow",
					      "sync",
					      "tmpcopyup",
					      "unbindable",
					      NULL};
	struct json_object *o = json_object_new_object();

	json_add_str(o, "ociVersionMin", "1.0.0");
	json_add_str(o, "ociVersionMax", SPEC_VERSION);
	(void)json_object_object_add(o, "hooks", list(hooks));
	(void)json_object_object_add(o, "mountOptions", list(options));
	(void)json_object_object_add(o, "linux", linux_features());
	(void)json_object_object_add(o, "annotations", json_object_new_object());
	(void)json_object_object_add(o, "potentiallyUnsafeConfigAnnotations", list(unsafe));
	return o;
}

int cmd_features(struct cli *c, struct err *e)
{
	auto_json o = NULL;

	if (c->argc)
		return err_set(e, -EINVAL, "features: unexpected argument '%s'", c->argv[0]);
	o = info_features();
	json_print(o);
	return 0;
}
