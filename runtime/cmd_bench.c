/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verb bench: how long containers take to start, phase by phase, beside other runtimes. Each
 * run is a `husk` command like anybody's; the peers get the same bundle and the same words, since
 * they have the same command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/cli.h"
#include "runtime/json.h"
#include "runtime/payload.h"
#include "runtime/spec.h"
#include "vmm/bench.h"

enum kind { BENCH_RUN, BENCH_CREATE_START, BENCH_EXEC };

struct work {
	struct cli *c;
	enum kind kind;
	struct bench_plan p;
	struct bench_opts o;
	char self[4096]; /* this program */
	char dir[64];	 /* of all that is made here */
	char *bundle;	 /* for what is timed */
};

/* ---- a bundle of our own ---------------------------------------------------------------------- */

static int copy_self(const char *to, struct err *e)
{
	auto_fd in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	auto_fd out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat st;
	off_t done = 0;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		return err_sys(e, -errno, "'%s'", to);
	while (done < st.st_size) {
		ssize_t n = sendfile(out, in, NULL, (size_t)(st.st_size - done));

		if (n <= 0)
			return err_sys(e, n < 0 ? -errno : -EIO, "'%s'", to);
		done += n;
	}
	return 0;
}

/* The usual config.json with our payload for a process. */
static int write_config(const char *path, bool waits, struct err *e)
{
	auto_free char *template = spec_template();
	struct json_object *o = template ? json_tokener_parse(template) : NULL, *v, *args;
	const char *text;
	int rc = -ENOMEM;

	if (o && json_object_object_get_ex(o, "process", &v)) {
		args = json_object_new_array();
		(void)json_object_array_add(args, json_object_new_string("/" PAYLOAD_NAME));
		if (waits)
			(void)json_object_array_add(args, json_object_new_string(PAYLOAD_WAIT));
		(void)json_object_object_add(v, "args", args);
		text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
		rc = text ? fd_write_file(AT_FDCWD, path, text, strlen(text), 0644) : -ENOMEM;
	}
	json_object_put(o);
	return rc < 0 ? err_sys(e, rc, "'%s'", path) : 0;
}

static int make_bundle(struct work *w, struct err *e)
{
	char path[128];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/rootfs", w->dir);
	if (mkdir(path, 0755) < 0)
		return err_sys(e, -errno, "'%s'", path);
	(void)snprintf(path, sizeof(path), "%s/rootfs/" PAYLOAD_NAME, w->dir);
	rc = copy_self(path, e);
	if (rc < 0)
		return rc;
	(void)snprintf(path, sizeof(path), "%s/config.json", w->dir);
	rc = write_config(path, w->kind == BENCH_EXEC, e);
	if (rc < 0)
		return rc;
	w->bundle = strdup(w->dir);
	return w->bundle ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)where;
	(void)!(type == FTW_DP ? rmdir(path) : unlink(path));
	return 0;
}

/* With the mount points that runtimes make in a root; never into what may be mounted there. */
static void remove_bundle(const struct work *w)
{
	(void)nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* ---- subjects --------------------------------------------------------------------------------- */

/* program [--root DIR] [our own options], to which a verb is added. */
static int begin(const struct work *w, const char *program, char ***argv)
{
	const struct cli_global *g = w->c->g;
	int rc = bench_words(argv, program ? program : w->self, NULL);

	if (rc < 0 || program)
		return rc;
	rc = bench_words(argv, "--root", g->root, NULL);
	if (rc == 0 && g->assets)
		rc = bench_words(argv, "--assets", g->assets, NULL);
	if (rc == 0 && g->config)
		rc = bench_words(argv, "--config", g->config, NULL);
	return rc;
}

/* The id is the last word; "{id}" becomes a run's number. */
static int add_verb(const struct work *w, const char *program, char ***argv,
		    const char *const *words, bool id_last)
{
	auto_free char *id = NULL;
	int rc = begin(w, program, argv);

	if (asprintf(&id, "bench-%d-{id}", (int)getpid()) < 0)
		return -ENOMEM;
	for (; rc == 0 && *words; words++)
		rc = bench_words(argv, strcmp(*words, "BUNDLE") != 0 ? *words : w->bundle, NULL);
	return rc == 0 && id_last ? bench_words(argv, id, NULL) : rc;
}

#define WORDS(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static int add_run(const struct work *w, struct bench_subject *s, const char *program)
{
	if (program)
		return add_verb(w, program, &s->step[0], WORDS("run", "--bundle", "BUNDLE"), true);
	s->tells = BENCH_TELLS_REPORT;
	return add_verb(w, program, &s->step[0],
			WORDS("run", "--boot-report=json", "--bundle", "BUNDLE"), true);
}

static int add_create_start(const struct work *w, struct bench_subject *s, const char *program)
{
	int rc = add_verb(w, program, &s->step[0], WORDS("create", "--bundle", "BUNDLE"), true);

	s->steps = 2;
	if (rc == 0)
		rc = add_verb(w, program, &s->step[1], WORDS("start"), true);
	return rc == 0 ? add_verb(w, program, &s->after, WORDS("delete", "--force"), true) : rc;
}

/* One container, made before and removed after all runs; each run is an exec in it. */
static int add_exec(const struct work *w, struct bench_subject *s, const char *program)
{
	auto_free char *id = NULL;
	int rc = asprintf(&id, "bench-%d-0", (int)getpid()) < 0 ? -ENOMEM : 0;

	if (rc == 0)
		rc = add_verb(w, program, &s->prepare,
			      WORDS("run", "--detach", "--bundle", "BUNDLE"), true);
	if (rc == 0)
		rc = add_verb(w, program, &s->undo, WORDS("delete", "--force"), true);
	if (rc == 0)
		rc = begin(w, program, &s->step[0]);
	if (rc == 0)
		rc = bench_words(&s->step[0], "exec", id, NULL);
	if (rc == 0 && w->c->argc > 1)
		return bench_words_v(&s->step[0], w->c->argv + 1);
	return rc == 0 ? bench_words(&s->step[0], "/" PAYLOAD_NAME, NULL) : rc;
}

static int add_subject(struct work *w, const char *name, const char *program, struct err *e)
{
	static int (*const add[])(const struct work *w, struct bench_subject *s,
				  const char *program) = {[BENCH_RUN] = add_run,
							  [BENCH_CREATE_START] = add_create_start,
							  [BENCH_EXEC] = add_exec};
	struct bench_subject *s = bench_add(&w->p, name, e);
	int rc;

	if (!s)
		return e->code;
	s->steps = 1;
	rc = add[w->kind](w, s, program);
	return rc < 0 ? err_sys(e, rc, "%s", name) : 0;
}

/* "crun", "runc", or NAME=PROGRAM with their command line. */
static int add_peer(struct work *w, const char *peer, struct err *e)
{
	const char *program = strchr(peer, '=');
	auto_free char *name = strndup(peer, program ? (size_t)(program - peer) : strlen(peer));

	int rc;

	if (!name)
		return err_set(e, -ENOMEM, "out of memory");
	rc = add_subject(w, name, program ? program + 1 : peer, e);
	/* A name that nobody knows is a mistake. */
	if (rc == 0)
		w->p.subject[w->p.subjects - 1].optional =
		    !program && (!strcmp(name, "crun") || !strcmp(name, "runc"));
	return rc;
}

/* ---- the verb --------------------------------------------------------------------------------- */

static int read_kind(struct work *w, struct err *e)
{
	static const char *const names[] = {
	    [BENCH_RUN] = "run", [BENCH_CREATE_START] = "create-start", [BENCH_EXEC] = "exec"};

	for (size_t i = 0; w->c->argc && i < ARRAY_LEN(names); i++) {
		if (strcmp(w->c->argv[0], names[i]) != 0)
			continue;
		w->kind = (enum kind)i;
		w->p.what = names[i];
		if (w->c->argc > 1 && w->kind != BENCH_EXEC)
			return err_set(e, -EINVAL, "bench: unexpected argument '%s'",
				       w->c->argv[1]);
		return 0;
	}
	return err_set(e, -EINVAL, "bench: what? run, create-start or exec");
}

static int read_options(struct work *w, struct err *e)
{
	const struct cli_opts *o = &w->c->o;
	const struct {
		const char *name, *value;
	} words[] = {{"runs", o->runs},	  {"warm-up", o->warm_up}, {"parallel", o->parallel},
		     {"until", o->until}, {"timeout", o->timeout}, {"csv", o->csv},
		     {"svg", o->svg}};
	int rc = 0;

	w->o.json = o->json;
	w->o.quiet = o->quiet;
	for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(words); i++)
		if (words[i].value)
			rc = bench_opt(&w->o, words[i].name, words[i].value, e);
	for (size_t i = 0; rc >= 0 && i < o->peer.cnt; i++)
		rc = bench_opt(&w->o, "peer", o->peer.v[i], e);
	return rc < 0 ? rc : 0;
}

static int prepare(struct work *w, struct err *e)
{
	ssize_t n = readlink("/proc/self/exe", w->self, sizeof(w->self) - 1);
	int rc = read_kind(w, e);

	if (rc == 0)
		rc = read_options(w, e);
	if (rc < 0)
		return rc;
	if (n < 0)
		return err_sys(e, -errno, "/proc/self/exe");
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/husk-bench.XXXXXX");
	if (!mkdtemp(w->dir)) {
		w->dir[0] = '\0';
		return err_sys(e, -errno, "/tmp");
	}
	if (chmod(w->dir, 0755) < 0)
		return err_sys(e, -errno, "'%s'", w->dir);
	if (!w->c->o.bundle)
		return make_bundle(w, e);
	w->bundle = realpath(w->c->o.bundle, NULL);
	return w->bundle ? 0 : err_sys(e, -errno, "bundle '%s'", w->c->o.bundle);
}

int cmd_husk_bench(struct cli *c, struct err *e)
{
	struct work w = {.c = c, .o = {.runs = 10, .warm_up = 1, .parallel = 1, .timeout_s = 120}};
	int rc = prepare(&w, e);

	if (rc == 0)
		rc = add_subject(&w, "husk", NULL, e);
	for (unsigned i = 0; rc == 0 && i < w.o.peers; i++)
		rc = add_peer(&w, w.o.peer[i], e);
	if (rc == 0)
		rc = bench_main(&w.p, &w.o, e);
	if (w.dir[0])
		remove_bundle(&w);
	bench_plan_free(&w.p);
	free(c->o.peer.v);
	c->o.peer.v = NULL;
	free(w.bundle);
	return rc;
}
