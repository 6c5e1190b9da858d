/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `husk env`: what a report about a problem should have: versions, paths, the configuration in force,
 * guest files with their hashes, the host. The same object as JSON and as lines "a.b = value".
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/cli.h"
#include "runtime/facts.h"
#include "runtime/info.h"
#include "runtime/spec.h"
#include "vmm/check.h"

static struct json_object *file_json(const struct facts_file *f)
{
	struct json_object *o = json_object_new_object();

	json_add_str(o, "path", f->path);
	json_add_i64(o, "size", f->size);
	json_add_str(o, "sha256", f->sha256);
	json_add_str(o, "version", f->version[0] ? f->version : NULL);
	return o;
}

static void add_guest(struct json_object *o, const struct cli_global *g, const struct config *conf)
{
	auto_free struct facts_file *files = calloc(2, sizeof(*files));
	struct json_object *guest = json_object_new_object();
	struct err e = {0};

	if (files && facts_guest_files(g, conf, true, &files[0], &files[1], &e) == 0) {
		(void)json_object_object_add(guest, "kernel", file_json(&files[0]));
		(void)json_object_object_add(guest, "image", file_json(&files[1]));
	} else {
		json_add_str(guest, "error", e.msg);
	}
	(void)json_object_object_add(o, "guest", guest);
}

static void add_kvm(struct json_object *o)
{
	struct json_object *kvm = json_object_new_object();
	struct err e = {0};
	int rc = kvm_probe(&e);

	json_add_bool(kvm, "works", rc == 0);
	json_add_str(kvm, "error", rc < 0 ? e.msg : NULL);
	(void)json_object_object_add(o, "kvm", kvm);
}

static void print_lines(struct json_object *o, const char *prefix)
{
	json_object_object_foreach(o, key, v)
	{
		char name[256];

		(void)snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (json_object_is_type(v, json_type_object))
			print_lines(v, name);
		else
			(void)printf(
			    "%s = %s\n", name,
			    v ? json_object_to_json_string_ext(
				    v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
			      : "null");
	}
}

int cmd_env(struct cli *c, struct err *e)
{
	auto_json o = json_object_new_object();
	struct json_object *v, *paths;
	const struct config *conf = NULL;
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int rc;

	if (c->argc)
		return err_set(e, -EINVAL, "env: unexpected argument '%s'", c->argv[0]);
	rc = cli_config(c->g, &conf, e);
	if (rc < 0)
		return rc;
	v = json_object_new_object();
	json_add_str(v, "husk", HUSK_VERSION);
	json_add_str(v, "commit", info_commit());
	json_add_str(v, "spec", SPEC_VERSION);
	(void)json_object_object_add(o, "version", v);
	paths = json_object_new_object();
	self[MAX(n, 0)] = '\0';
	json_add_str(paths, "program", self);
	json_add_str(paths, "root", c->g->root);
	(void)json_object_object_add(paths, "config",
				     conf->path ? json_object_new_string(conf->path) : NULL);
	(void)json_object_object_add(o, "paths", paths);
	(void)json_object_object_add(o, "config", config_to_json(conf));
	add_guest(o, c->g, conf);
	(void)json_object_object_add(o, "host", facts_host());
	add_kvm(o);
	if (c->o.json)
		json_print(o);
	else
		print_lines(o, "");
	return fflush(stdout) ? err_sys(e, -errno, "env: the report") : 0;
}
