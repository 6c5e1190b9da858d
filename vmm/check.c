/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm check`: the verdict, the two forms of the report and the command.
 */
#include "vmm/check.h"
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/compiler.h"
#include "vmm/cmds.h"

static const char *const result_names[] = {"pass", "fail", "skip"};
static const char *const level_names[] = {"ok", "note", "warning", "bad"};

/* ---- verdict --------------------------------------------------------------------------------- */
/* The first thing without which no guest runs, or NULL. */
static const char *first_reason(const struct check_report *r, char *buf, size_t len)
{
	const char *why = check_guest_reason(&r->guest, buf, len);

	if (why)
		return why;
	if (!r->guest.stage_cnt)
		return "nothing was tried";
	for (unsigned i = 0; i < r->host.cap_cnt; i++) {
		const struct check_cap *c = &r->host.cap[i];

		if (c->required && !c->value) {
			(void)snprintf(buf, len, "KVM lacks KVM_CAP_%s: %s", c->name, c->lost);
			return buf;
		}
	}
	if (!r->host.uring_works)
		return r->host.uring_reason;
	return NULL;
}

void check_verdict(struct check_report *r)
{
	char buf[1100];
	const char *why = first_reason(r, buf, sizeof(buf));

	r->can_run = !why;
	if (why)
		(void)snprintf(r->verdict, sizeof(r->verdict), "this host cannot run guests: %s",
			       why);
	else
		(void)snprintf(r->verdict, sizeof(r->verdict), "this host can run guests");
}

/* ---- text ------------------------------------------------------------------------------------ */
struct paint {
	FILE *f;
	bool colour;
};

/* One line: mark, name, text. @level colours the mark. */
static void line(const struct paint *p, enum check_level level, const char *mark, const char *name,
		 const char *text, const char *note)
{
	static const char *const codes[] = {"32", "36", "33", "31"};

	if (p->colour)
		fprintf(p->f, "  \033[%sm%-4s\033[0m", codes[level], mark);
	else
		fprintf(p->f, "  %-4s", mark);
	fprintf(p->f, " %-25s %s%s%s\n", name, text, *note && *text ? ": " : "", note);
}

static void head(const struct paint *p, const char *title)
{
	fprintf(p->f, p->colour ? "\033[1m%s\033[0m\n" : "%s\n", title);
}

static void text_stages(const struct paint *p, const struct check_guest *g)
{
	static const char *const marks[] = {"ok", "FAIL", "-"};

	head(p, "guest");
	if (g->err.code)
		line(p, CHECK_BAD, "FAIL", "virtual machine", g->err.msg, "");
	for (unsigned i = 0; i < g->stage_cnt; i++) {
		const struct check_stage *s = &g->stage[i];
		enum check_level level = s->result == CHECK_PASS   ? CHECK_OK
					 : s->result == CHECK_SKIP ? CHECK_NOTE
					 : s->required		   ? CHECK_BAD
								   : CHECK_WARN;

		line(p, level, marks[s->result], s->name, s->what, s->reason);
	}
}

static void text_cost(const struct paint *p, const char *name, const struct check_cost *c,
		      const char *slow)
{
	char buf[96];

	if (!c->n)
		return;
	(void)snprintf(buf, sizeof(buf), "%.1f us (min %.1f, max %.1f, n=%u)",
		       (double)c->median / 1000, (double)c->min / 1000, (double)c->max / 1000,
		       c->n);
	line(p, *slow ? CHECK_WARN : CHECK_OK, *slow ? "!" : "", name, buf, slow);
}

static void text_costs(const struct paint *p, const struct check_guest *g)
{
	if (!g->create_vm.n)
		return;
	head(p, "cost, median");
	text_cost(
	    p, "KVM_CREATE_VM", &g->create_vm,
	    g->create_vm.median < CHECK_CREATE_SLOW_NS
		? ""
		: "slow; known causes: cgroup2 without favordynmods, kvm.nx_huge_pages, nesting");
	text_cost(p, "KVM_CREATE_VCPU", &g->create_vcpu, "");
	text_cost(p, "exit to user space", &g->exit_user, "");
	text_cost(p, "exit within KVM", &g->exit_kernel, "");
}

static void text_caps(const struct paint *p, const struct check_host *h)
{
	const struct check_limits *l = &h->limits;
	char buf[160];

	if (!h->cap_cnt)
		return;
	head(p, "capabilities");
	for (unsigned i = 0; i < h->cap_cnt; i++) {
		const struct check_cap *c = &h->cap[i];

		if (c->value)
			line(p, CHECK_OK, "ok", c->name, c->required ? "required" : "useful", "");
		else
			line(p, c->required ? CHECK_BAD : CHECK_WARN, c->required ? "FAIL" : "!",
			     c->name, "lost", c->lost);
	}
	(void)snprintf(buf, sizeof(buf),
		       "%d vCPUs (%d recommended), %d memory slots, %d address bits", l->vcpus_max,
		       l->vcpus_recommended, l->memslots, l->phys_bits);
	line(p, CHECK_OK, "", "limits", buf, "");
	(void)snprintf(buf, sizeof(buf), "%.3f MHz", (double)l->tsc_khz / 1000);
	line(p, CHECK_OK, "", "TSC", l->tsc_khz ? buf : "rate unknown", "");
}

static void text_host(const struct paint *p, const struct check_host *h)
{
	static const char *const marks[] = {"ok", "note", "!", "FAIL"};

	head(p, "host");
	line(p, h->uring_works ? CHECK_OK : CHECK_BAD, h->uring_works ? "ok" : "FAIL", "io_uring",
	     h->uring_works ? "works" : h->uring_reason, "");
	for (unsigned i = 0; i < h->item_cnt; i++) {
		const struct check_item *it = &h->item[i];

		line(p, it->level, marks[it->level], it->name, it->value, it->note);
	}
}

void check_print_text(const struct check_report *r, FILE *f, bool colour)
{
	struct paint p = {f, colour};

	text_stages(&p, &r->guest);
	text_costs(&p, &r->guest);
	text_caps(&p, &r->host);
	text_host(&p, &r->host);
	if (colour)
		fprintf(f, "\n\033[1;%dm%s\033[0m\n", r->can_run ? 32 : 31, r->verdict);
	else
		fprintf(f, "\n%s\n", r->verdict);
}

/* ---- JSON ------------------------------------------------------------------------------------ */
static void add_str(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}
static void add_int(struct json_object *o, const char *key, int64_t v)
{
	json_object_object_add(o, key, json_object_new_int64(v));
}
static void add_bool(struct json_object *o, const char *key, bool v)
{
	json_object_object_add(o, key, json_object_new_boolean(v));
}

static struct json_object *json_stages(const struct check_guest *g)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < g->stage_cnt; i++) {
		const struct check_stage *s = &g->stage[i];
		struct json_object *o = json_object_new_object();

		add_str(o, "name", s->name);
		add_str(o, "what", s->what);
		add_bool(o, "required", s->required);
		add_str(o, "result", result_names[s->result]);
		add_str(o, "reason", s->result == CHECK_PASS ? "" : s->reason);
		add_str(o, "note", s->result == CHECK_PASS ? s->reason : "");
		add_int(o, "ns", (int64_t)s->ns);
		json_object_array_add(a, o);
	}
	return a;
}

static void json_cost(struct json_object *o, const char *key, const struct check_cost *c)
{
	struct json_object *v = c->n ? json_object_new_object() : NULL;

	if (v) {
		add_int(v, "min", (int64_t)c->min);
		add_int(v, "median", (int64_t)c->median);
		add_int(v, "max", (int64_t)c->max);
		add_int(v, "n", c->n);
	}
	json_object_object_add(o, key, v);
}

static struct json_object *json_costs(const struct check_guest *g)
{
	struct json_object *o = json_object_new_object();

	json_cost(o, "create_vm", &g->create_vm);
	json_cost(o, "create_vcpu", &g->create_vcpu);
	json_cost(o, "exit_user", &g->exit_user);
	json_cost(o, "exit_kernel", &g->exit_kernel);
	return o;
}

static struct json_object *json_caps(const struct check_host *h)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < h->cap_cnt; i++) {
		const struct check_cap *c = &h->cap[i];
		struct json_object *o = json_object_new_object();

		add_str(o, "name", c->name);
		add_bool(o, "required", c->required);
		add_bool(o, "present", c->value > 0);
		add_int(o, "value", c->value);
		add_str(o, "lost", c->value ? "" : c->lost);
		json_object_array_add(a, o);
	}
	return a;
}

static struct json_object *json_limits(const struct check_limits *l)
{
	struct json_object *o = json_object_new_object();

	add_int(o, "vcpus_max", l->vcpus_max);
	add_int(o, "vcpus_recommended", l->vcpus_recommended);
	add_int(o, "vcpu_id_max", l->vcpu_id_max);
	add_int(o, "memslots", l->memslots);
	add_int(o, "tsc_khz", l->tsc_khz);
	add_int(o, "phys_bits", l->phys_bits);
	return o;
}

static struct json_object *json_host(const struct check_host *h)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < h->item_cnt; i++) {
		const struct check_item *it = &h->item[i];
		struct json_object *o = json_object_new_object();

		add_str(o, "name", it->name);
		add_str(o, "value", it->value);
		add_str(o, "level", level_names[it->level]);
		add_str(o, "note", it->note);
		json_object_array_add(a, o);
	}
	return a;
}

int check_print_json(const struct check_report *r, FILE *f)
{
	struct json_object *o = json_object_new_object(), *u = json_object_new_object();
	const char *text;
	int rc = 0;

	add_str(o, "version", HUSK_VERSION);
	add_str(o, "device", r->dev);
	add_bool(o, "can_run", r->can_run);
	add_str(o, "verdict", r->verdict);
	add_str(o, "error", r->guest.err.code ? r->guest.err.msg : "");
	json_object_object_add(o, "mips", json_object_new_double(r->guest.mips));
	json_object_object_add(o, "stages", json_stages(&r->guest));
	json_object_object_add(o, "cost_ns", json_costs(&r->guest));
	json_object_object_add(o, "capabilities", json_caps(&r->host));
	json_object_object_add(o, "limits", json_limits(&r->host.limits));
	add_bool(u, "works", r->host.uring_works);
	add_str(u, "reason", r->host.uring_reason);
	json_object_object_add(o, "io_uring", u);
	json_object_object_add(o, "host", json_host(&r->host));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
						     JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!text)
		rc = -ENOMEM;
	else if (fprintf(f, "%s\n", text) < 0)
		rc = -EIO;
	json_object_put(o);
	return rc;
}

/* ---- command --------------------------------------------------------------------------------- */
static void usage(FILE *f)
{
	fprintf(
	    f,
	    "usage: vmm check [--json] [--quick] [--device PATH]\n\n"
	    "Finds out with a tiny guest of its own whether this host can run guests, and shows\n"
	    "what is missing, costly or set badly.\n\n"
	    "  --json          one JSON object instead of text\n"
	    "  --quick         only the guest, and only the verdict\n"
	    "  --device PATH   the KVM device (" CHECK_KVM_DEV ")\n\n"
	    "Exit status: 0 when guests can run, 1 when not, 2 for misuse.\n");
}

int cmd_check(int argc, char **argv)
{
	static const struct option opts[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"quick", no_argument, NULL, 'q'},
	    {"device", required_argument, NULL, 'd'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	bool json = false, quick = false;
	struct check_report *r;
	const char *dev = CHECK_KVM_DEV;
	unsigned flags;
	int c, rc = 0;

	optind = 1;
	while ((c = getopt_long(argc, argv, ":h", opts, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'q':
			quick = true;
			break;
		case 'd':
			dev = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fprintf(stderr, "vmm: check: %s '%s'\n",
				c == ':' ? "no value for option" : "unknown option",
				argv[optind - 1]);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vmm: check: unexpected argument '%s'\n", argv[optind]);
		return 2;
	}
	if (json && quick) {
		fprintf(stderr, "vmm: check: --json and --quick exclude each other\n");
		return 2;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		fprintf(stderr, "vmm: check: out of memory\n");
		return 1;
	}
	r->dev = dev;
	flags = quick ? CHECK_QUICK : 0;
	(void)check_guest_run(dev, flags, &r->guest);
	check_host_run(dev, flags, &r->host);
	check_verdict(r);
	if (quick)
		printf("%s\n", r->verdict);
	else if (json)
		rc = check_print_json(r, stdout);
	else
		check_print_text(r, stdout, isatty(STDOUT_FILENO));
	if (fflush(stdout) || rc) {
		fprintf(stderr, "vmm: check: cannot write the report\n");
		rc = -EIO;
	}
	rc = rc || !r->can_run;
	free(r);
	return rc;
}
