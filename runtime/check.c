/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `husk check`: can this host run containers? KVM by a tiny guest (vmm/check.h), then what the
 * runtime itself needs: rights, namespaces, cgroups, guest files, the configuration, modules.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/cli.h"
#include "runtime/facts.h"
#include "runtime/scope.h"
#include "vmm/check.h"

#define ITEMS_MAX 24

struct item {
	const char *name;
	enum check_level level;
	char value[512];
	char note[1200]; /* a verdict fits */
};

struct findings {
	struct item item[ITEMS_MAX];
	unsigned cnt;
	struct check_report kvm;
	char verdict[1300];
};

static const char *const levels[] = {"ok", "note", "warning", "bad"};

static struct item *add(struct findings *f, const char *name, enum check_level level,
			const char *note)
{
	struct item *it = &f->item[f->cnt];

	BUG_ON(f->cnt == ITEMS_MAX);
	f->cnt++;
	it->name = name;
	it->level = level;
	(void)snprintf(it->note, sizeof(it->note), "%s", note);
	return it;
}

static void look_at_process(struct findings *f)
{
	struct utsname u = {0};
	unsigned major = 0, minor = 0;
	struct item *it;

	it = add(f, "user", geteuid() == 0 ? CHECK_OK : CHECK_BAD,
		 geteuid() == 0 ? "" : "containers are made by root only");
	(void)snprintf(it->value, sizeof(it->value), "%u", (unsigned)geteuid());
	(void)uname(&u);
	(void)!sscanf(u.release, "%3u.%3u", &major, &minor);
	it = add(f, "kernel", CHECK_OK, "");
	(void)snprintf(it->value, sizeof(it->value), "%s", u.release);
	if (major < 6 || (major == 6 && minor < 1)) {
		it->level = CHECK_WARN;
		(void)snprintf(it->note, sizeof(it->note), "older than 6.1: not tried");
	}
}

static void look_at_namespaces(struct findings *f)
{
	static const char *const names[] = {"net", "mnt", "user", "cgroup"};
	struct item *it = add(f, "namespaces", CHECK_OK, "");
	auto_free char *actions = NULL;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		if (access(path, F_OK) == 0) {
			n += (size_t)snprintf(it->value + n, sizeof(it->value) - n, "%s%s",
					      n ? " " : "", names[i]);
		} else if (i < 2) {
			it->level = CHECK_BAD;
			(void)snprintf(it->note, sizeof(it->note), "no %s namespaces", names[i]);
		}
	}
	it = add(f, "seccomp", CHECK_OK, "");
	if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/seccomp/actions_avail", 4096, &actions,
			 NULL)) {
		it->level = CHECK_BAD;
		(void)snprintf(it->note, sizeof(it->note),
			       "no filters: sandbox processes would be unconfined");
	} else {
		(void)snprintf(it->value, sizeof(it->value), "%.*s", (int)strcspn(actions, "\n"),
			       actions);
	}
}

/* Is @name one of the words of @list? */
static bool has_word(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; (p = strstr(p, name)); p += n)
		if ((p == list || p[-1] == ' ' || p[-1] == ',') &&
		    (!p[n] || p[n] == ' ' || p[n] == ','))
			return true;
	return false;
}

static void look_at_cgroups(struct findings *f)
{
	static const char *const wanted[] = {"memory", "cpu", "pids", "cpuset"};
	struct item *it = add(f, "cgroup", CHECK_OK, "");
	char list[256];
	unsigned version = facts_cgroup(list, sizeof(list));
	size_t n = 0;

	(void)snprintf(it->value, sizeof(it->value), "v%u: %s", version, list);
	if (!version) {
		it->level = CHECK_WARN;
		(void)snprintf(it->value, sizeof(it->value), "none");
		(void)snprintf(it->note, sizeof(it->note),
			       "containers with a cgroupsPath are refused");
	}
	for (size_t i = 0; version && i < ARRAY_LEN(wanted); i++)
		if (!has_word(list, wanted[i])) {
			it->level = CHECK_WARN;
			n += (size_t)snprintf(it->note + n, sizeof(it->note) - n, "%s%s",
					      n ? ", " : "no limits on the host of: ", wanted[i]);
		}
	it = add(f, "systemd", CHECK_OK, "");
	(void)snprintf(it->value, sizeof(it->value), "%s",
		       scope_possible() ? "the init of this host" : "not the init of this host");
	if (!scope_possible()) {
		it->level = CHECK_NOTE;
		(void)snprintf(it->note, sizeof(it->note), "--systemd-cgroup is refused");
	}
}

static void look_at_config(struct findings *f, struct cli_global *g)
{
	const struct config *conf = NULL;
	struct err e = {0};
	auto_free struct facts_file *files = calloc(2, sizeof(*files));
	struct item *it;

	if (cli_config(g, &conf, &e) < 0)
		conf = NULL;
	it = add(f, "configuration", conf ? CHECK_OK : CHECK_BAD, e.msg);
	(void)snprintf(it->value, sizeof(it->value), "%.500s",
		       conf && conf->path ? conf->path
		       : g->config	  ? g->config
					  : CONFIG_PATH);
	if (conf && !conf->path)
		(void)snprintf(it->note, sizeof(it->note), "not there: defaults");
	e = (struct err){0};
	if (!files)
		return;
	if (facts_guest_files(g, conf, false, &files[0], &files[1], &e) < 0) {
		it = add(f, "guest files", CHECK_BAD, e.msg);
		(void)snprintf(it->value, sizeof(it->value), "%.500s", files[0].path);
		return;
	}
	it = add(f, "guest kernel", CHECK_OK, files[0].version);
	(void)snprintf(it->value, sizeof(it->value), "%.500s", files[0].path);
	it = add(f, "mini OS image", CHECK_OK, "");
	(void)snprintf(it->value, sizeof(it->value), "%.500s", files[1].path);
}

/* The state directory or its deepest ancestor that is there. */
static void look_at_root(struct findings *f, const struct cli_global *g)
{
	char path[512], *slash;
	struct item *it = add(f, "state directory", CHECK_OK, "");

	(void)snprintf(path, sizeof(path), "%.500s", g->root);
	(void)snprintf(it->value, sizeof(it->value), "%.500s", g->root);
	while (access(path, F_OK) < 0 && (slash = strrchr(path, '/')) && slash > path)
		*slash = '\0';
	if (access(path, W_OK | X_OK) < 0) {
		it->level = CHECK_BAD;
		(void)snprintf(it->note, sizeof(it->note), "'%s': %s", path, strerror(errno));
	}
}

static void look_at_modules(struct findings *f)
{
	static const struct {
		const char *name, *lost;
	} modules[] = {
	    {"tun", "no network"},
	    {"sch_ingress", "no redirection of network traffic"},
	    {"act_mirred", "no redirection of network traffic"},
	};
	struct item *it = add(f, "modules", CHECK_OK, "");
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
		enum facts_module m = facts_module(modules[i].name);

		n += (size_t)snprintf(it->value + n, sizeof(it->value) - n, "%s%s%s", n ? " " : "",
				      modules[i].name,
				      m == FACTS_MODULE_THERE	  ? ""
				      : m == FACTS_MODULE_MISSING ? " (missing)"
								  : " (unknown)");
		if (m == FACTS_MODULE_MISSING) {
			it->level = CHECK_WARN;
			(void)snprintf(it->note, sizeof(it->note), "%s: %s", modules[i].name,
				       modules[i].lost);
		}
	}
}

/* ---- the report ------------------------------------------------------------------------------ */

static bool judge(struct findings *f)
{
	for (unsigned i = 0; i < f->cnt; i++)
		if (f->item[i].level == CHECK_BAD) {
			(void)snprintf(f->verdict, sizeof(f->verdict),
				       "this host cannot run husk: %s: %s", f->item[i].name,
				       f->item[i].note);
			return false;
		}
	(void)snprintf(f->verdict, sizeof(f->verdict), "this host can run husk");
	return true;
}

static void print_text(const struct findings *f)
{
	check_print_text(&f->kvm, stdout, isatty(STDOUT_FILENO));
	(void)printf("\nthe runtime\n");
	for (unsigned i = 0; i < f->cnt; i++) {
		const struct item *it = &f->item[i];

		(void)printf("  %-8s %-16s %s%s%s%s\n", levels[it->level], it->name, it->value,
			     it->note[0] ? " (" : "", it->note, it->note[0] ? ")" : "");
	}
	(void)printf("\n%s\n", f->verdict);
}

static int print_json(const struct findings *f, bool good, struct err *e)
{
	auto_json o = json_object_new_object();
	struct json_object *items = json_object_new_array();
	auto_free char *text = NULL;
	size_t len = 0;
	FILE *m = open_memstream(&text, &len);
	int rc;

	if (!m)
		return err_set(e, -ENOMEM, "out of memory");
	rc = check_print_json(&f->kvm, m);
	(void)fclose(m);
	if (rc < 0)
		return err_sys(e, rc, "the report");
	json_add_bool(o, "can_run", good);
	json_add_str(o, "verdict", f->verdict);
	for (unsigned i = 0; i < f->cnt; i++) {
		struct json_object *it = json_object_new_object();

		json_add_str(it, "name", f->item[i].name);
		json_add_str(it, "level", levels[f->item[i].level]);
		json_add_str(it, "value", f->item[i].value);
		json_add_str(it, "note", f->item[i].note);
		(void)json_object_array_add(items, it);
	}
	(void)json_object_object_add(o, "runtime", items);
	(void)json_object_object_add(o, "kvm", json_tokener_parse(text));
	json_print(o);
	return 0;
}

int cmd_husk_check(struct cli *c, struct err *e)
{
	auto_free struct findings *f = calloc(1, sizeof(*f));
	const char *why;
	struct item *it;
	bool good;
	int rc = 0;

	if (c->argc)
		return err_set(e, -EINVAL, "check: unexpected argument '%s'", c->argv[0]);
	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	f->kvm.dev = CHECK_KVM_DEV;
	(void)check_guest_run(f->kvm.dev, 0, &f->kvm.guest);
	check_host_run(f->kvm.dev, 0, &f->kvm.host);
	check_verdict(&f->kvm);
	why = strchr(f->kvm.verdict, ':'); /* "this host cannot run guests: " */
	it = add(f, "KVM", f->kvm.can_run ? CHECK_OK : CHECK_BAD,
		 f->kvm.can_run || !why ? "" : why + 2);
	(void)snprintf(it->value, sizeof(it->value), "%s", f->kvm.dev);
	look_at_process(f);
	look_at_namespaces(f);
	look_at_cgroups(f);
	look_at_config(f, c->g);
	look_at_root(f, c->g);
	look_at_modules(f);
	good = judge(f);
	if (c->o.json)
		rc = print_json(f, good, e);
	else
		print_text(f);
	if (rc == 0 && fflush(stdout))
		rc = err_sys(e, -errno, "check: the report");
	return rc < 0 ? rc : !good;
}
