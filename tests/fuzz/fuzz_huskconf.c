/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people write about a container's size and place: husk.conf, annotations, linux.resources,
 * linux.cgroupsPath, and the texts of procfs. The input is tried as each of them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "runtime/annot.h"
#include "runtime/cglimits.h"
#include "runtime/cgpath.h"
#include "runtime/config.h"
#include "runtime/dbus_wire.h"
#include "runtime/scope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char all[] =
    "{\"enable_annotations\":[\"memory\",\"vcpus\",\"kernel\",\"kernel_params\"],"
    "\"annotation_paths\":[\"/a/*\"]}";

static int collect(void *ctx, const char *file, const char *text)
{
	BUG_ON(!*file || strchr(file, '/'));
	*(size_t *)ctx += strlen(text);
	return 0;
}

static void as_config(const char *text, size_t len)
{
	struct config c;
	struct err e = {0};
	int rc = config_parse(&c, "f", text, len, &e);

	BUG_ON(rc > 0 || (rc < 0) != (e.msg[0] != '\0'));
	if (rc == 0) {
		struct json_object *o = config_to_json(&c);

		BUG_ON(c.memory.standard < c.memory.min || c.vcpus.standard < 1);
		(void)json_object_put(o);
	}
	config_free(&c);
}

static void as_json(struct json_object *o)
{
	struct sizing size = {.memory = 1 << 28, .host = 1 << 26, .guest = 1 << 26, .cpus = 1};
	struct cglimits l;
	struct config c;
	struct annot a;
	struct err e = {0};
	size_t n = 0;

	if (config_parse(&c, "f", all, sizeof(all) - 1, &e) < 0)
		abort();
	json_object_object_foreach(o, key, v)
	{
		if (!json_object_is_type(v, json_type_string) || !key)
			n++;
	}
	if (n == 0 && annot_read(&a, o, &c, &e) < 0)
		BUG_ON(!e.msg[0]);
	config_free(&c);
	e = (struct err){0};
	if (cglimits_of(&l, o, &size, &e) < 0) {
		BUG_ON(!e.msg[0]);
		return;
	}
	for (unsigned version = 1; version <= 2; version++) {
		struct dbus_out out = {0};

		BUG_ON(cglimits_files(&l, version, collect, &n) < 0);
		scope_put_limits(&out, &l, version);
		dbus_out_free(&out);
	}
}

static void as_text(const char *text)
{
	struct cgpath_host *h = malloc(sizeof(*h));
	struct cgpath p;
	struct err e = {0};
	char dir[256];
	unsigned n;

	if (!h)
		abort();
	cgpath_host_parse(h, text, text);
	BUG_ON(h->cnt > CGPATH_MOUNTS_MAX);
	for (int systemd = 0; systemd < 2; systemd++) {
		e = (struct err){0};
		if (cgpath_parse(&p, text, "id", systemd, &e) < 0)
			BUG_ON(!e.msg[0]);
		else
			for (unsigned i = 0; i < h->cnt; i++)
				(void)!cgpath_dir(&p, &h->m[i], dir, sizeof(dir));
	}
	(void)!sizing_cpu_list(text, &n);
	free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);
	struct json_object *o = NULL;
	struct err e = {0};

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	log_setup(&(struct log_config){.program = "fuzz", .file_fd = -1, .stderr_level = -1});
	as_config(text, len);
	if (json_parse(text, len, "f", &o, &e) == 0)
		as_json(o);
	(void)json_object_put(o);
	as_text(text);
	free(text);
	return 0;
}
