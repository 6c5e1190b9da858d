/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_*.c: statistics, what subjects tell (recorded lines of other VMMs, written by hand from
 * their documentation), memory, command lines of peers, real runs of small commands, and the forms
 * of the results.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/payload.h"
#include "vmm/bench.h"
#include "vmm/bench_peer.h"
#include "vmm/bench_stat.h"

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-9;
}

/* ---- statistics ------------------------------------------------------------------------------ */

Test(bench, quantiles)
{
	double v[] = {40, 10, 30, 20, 50}, even[] = {4, 1, 3, 2}, one[] = {7};
	struct bench_stat st;

	bench_stat(v, 5, &st);
	cr_assert(st.n == 5 && near(st.min, 10) && near(st.median, 30) && near(st.max, 50));
	cr_assert(near(st.q1, 20) && near(st.q3, 40));
	cr_assert(near(st.p90, 46) && near(st.p99, 49.6), "p90 %f p99 %f", st.p90, st.p99);
	bench_stat(even, 4, &st);
	cr_assert(near(st.median, 2.5) && near(st.q1, 1.75) && near(st.q3, 3.25));
	bench_stat(one, 1, &st);
	cr_assert(near(st.min, 7) && near(st.p99, 7) && near(st.median, 7));
	bench_stat(one, 0, &st);
	cr_assert(st.n == 0 && near(st.median, 0));
}

/* ---- what subjects tell ---------------------------------------------------------------------- */

static void clear(struct bench_run *r)
{
	*r = (struct bench_run){0};
	for (unsigned i = 0; i < BENCH_COUNTS; i++)
		r->count[i] = BENCH_NONE;
}

Test(bench, own_report)
{
	static const char text[] = "vmm: a warning\n"
				   "{\"phases_ns\":{\"exec\":1500,\"run\":900,\"init\":5000},"
				   "\"exits\":{\"io\":8,\"mmio\":106},\"guest\":{"
				   "\"guest_memory_kib\":110000,\"guest_free_kib\":100000,"
				   "\"cpu_us\":7}}\n";
	struct bench_run r;

	clear(&r);
	bench_parse(BENCH_TELLS_REPORT, text, 1000, &r);
	cr_assert(r.at[PHASE_EXEC] == 500 && r.at[PHASE_INIT] == 4000);
	cr_assert(r.at[PHASE_RUN] == 0, "a stamp before the start is no stamp of this run");
	cr_assert(r.count[REPORT_IO] == 8 && r.count[REPORT_MMIO] == 106);
	cr_assert(r.count[REPORT_EOI] == BENCH_NONE);
	cr_assert(r.count[BENCH_GUEST_KIB] == 110000 && r.count[BENCH_GUEST_FREE_KIB] == 100000);
	cr_assert(r.count[BENCH_CPU_US] == BENCH_NONE, "not the subject's to tell");
	clear(&r);
	bench_parse(BENCH_TELLS_REPORT, "{\"phases_ns\":{\"exec\":1500", 1000, &r);
	bench_parse(BENCH_TELLS_REPORT, "nothing", 1000, &r);
	cr_assert(r.at[PHASE_EXEC] == 0);
}

Test(bench, firecracker_boot_timer)
{
	static const char text[] =
	    "2026-01-12T10:13:37.012345678 [anonymous-instance:main] Running Firecracker\n"
	    "2026-01-12T10:13:37.123456789 [anonymous-instance:fc_vcpu 0] Guest-boot-time =   9123 "
	    "us "
	    "9 ms,   8456 CPU us 8 CPU ms\n";
	struct bench_run r;

	clear(&r);
	bench_parse(BENCH_TELLS_FIRECRACKER, text, 77, &r);
	cr_assert(r.at[PHASE_INIT] == 9123 * NS_PER_US);
	clear(&r);
	bench_parse(BENCH_TELLS_FIRECRACKER, "Guest-boot-time = soon", 77, &r);
	bench_parse(BENCH_TELLS_FIRECRACKER, "Guest-boot-time = 99999999999999999999 us", 77, &r);
	cr_assert(r.at[PHASE_INIT] == 0);
}

Test(bench, cloud_hypervisor_debug_port)
{
	static const char text[] =
	    "cloud-hypervisor:  19.76ms: <vcpu0> WARN:devices/src/legacy/debug_port.rs:77 -- "
	    "[Debug I/O port: Kernel code 0x40] 0.018741 seconds\n"
	    "cloud-hypervisor:   1.40s: <vcpu0> WARN:devices/src/legacy/debug_port.rs:77 -- "
	    "[Debug I/O port: Kernel code 0x41] 1.1402744 seconds\n";
	struct bench_run r;

	clear(&r);
	bench_parse(BENCH_TELLS_CLOUD, text, 0, &r);
	cr_assert(r.at[PHASE_ENTRY] == 18741 * NS_PER_US);
	cr_assert(r.at[PHASE_INIT] == 1402744ull * NS_PER_US,
		  "all microseconds stand behind the point: %llu",
		  (unsigned long long)r.at[PHASE_INIT]);
	clear(&r);
	bench_parse(BENCH_TELLS_CLOUD, "[Debug I/O port: Kernel code 0x41] 1.402744 seconds", 0,
		    &r);
	cr_assert(r.at[PHASE_INIT] == 1402744ull * NS_PER_US, "those of the second do: %llu",
		  (unsigned long long)r.at[PHASE_INIT]);
	clear(&r);
	bench_parse(BENCH_TELLS_CLOUD, "[Debug I/O port: Kernel code 0x41] x seconds", 0, &r);
	cr_assert(r.at[PHASE_INIT] == 0);
}

Test(bench, smaps)
{
	static const char text[] =
	    "555500000000-555500100000 r-xp 00000000 00:00 0 /usr/bin/vmm\nRss:  900 kB\nPss:  700 "
	    "kB\n"
	    "7f0000000000-7f0008200000 rw-p 00000000 00:00 0 \nRss:  30720 kB\nPss:  30720 kB\n"
	    "7f1000000000-7f1000200000 r--s 00000000 00:00 0 /x/rootfs.erofs\nRss: 2048 kB\nPss: "
	    "2048 kB\n"
	    "7f2000000000-7f2000001000 rw-p 00000000 00:00 0 [stack]\nRss: 12 kB\nPss: 12 kB\n";
	struct bench_run r;

	clear(&r);
	bench_smaps(text, 128ull << 20, "", &r);
	cr_assert(r.count[BENCH_PSS_KIB] == 712, "%llu",
		  (unsigned long long)r.count[BENCH_PSS_KIB]);
	cr_assert(r.count[BENCH_RAM_KIB] == 30720);
	clear(&r);
	bench_smaps(text, 128ull << 20, "/usr/bin/vmm", &r);
	cr_assert(r.count[BENCH_PSS_KIB] == 912, "the bench's own program counts whole: %llu",
		  (unsigned long long)r.count[BENCH_PSS_KIB]);
	clear(&r);
	bench_smaps(text, 512ull << 20, "", &r);
	cr_assert(r.count[BENCH_PSS_KIB] == BENCH_NONE, "no guest of that size: no figure");
}

/* ---- peers ------------------------------------------------------------------------------------ */

static const struct bench_guest guest = {.kernel = "/k/vmlinux",
					 .initrd = "/k/initrd",
					 .append = "quiet end",
					 .cpus = 2,
					 .memory = 128ull << 20};

static bool has_words(char *const *argv, const char *a, const char *b)
{
	for (size_t i = 0; argv[i]; i++)
		if (!strcmp(argv[i], a) && (!b || (argv[i + 1] && !strcmp(argv[i + 1], b))))
			return true;
	return false;
}

Test(bench, peers_get_the_same_guest)
{
	static const char *const names[] = {"qemu", "firecracker", "cloud-hypervisor", "kvmtool",
					    "mine=/bin/mine -k {kernel} mem={memory}M -c{cpus}"};
	char dir[] = "/tmp/husk-test-bench.XXXXXX", path[64];
	struct bench_plan p = {0};
	struct err e = {0};

	cr_assert(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		cr_assert(bench_peer_add(&p, names[i], &guest, dir, &e) == 0, "%s", e.msg);
	cr_assert(has_words(p.subject[0].step[0], "-kernel", "/k/vmlinux"));
	cr_assert(has_words(p.subject[0].step[0], "-m", "128M"));
	cr_assert(has_words(p.subject[0].step[0], "-smp", "2"));
	cr_assert(has_words(p.subject[0].step[0], "-initrd", "/k/initrd"));
	cr_assert(has_words(p.subject[1].step[0], "--boot-timer", NULL));
	cr_assert(p.subject[1].tells == BENCH_TELLS_FIRECRACKER);
	cr_assert(has_words(p.subject[2].step[0], "--memory", "size=128M"));
	cr_assert(has_words(p.subject[2].step[0], "--cpus", "boot=2"));
	cr_assert(has_words(p.subject[3].step[0], "--mem=128", NULL));
	cr_assert(has_words(p.subject[4].step[0], "mem=128M", "-c2"));
	cr_assert(!strcmp(p.subject[4].name, "mine"));
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		cr_assert(p.subject[i].stop == SIGKILL && p.subject[i].ram == guest.memory);
	cr_assert(bench_peer_add(&p, "vmware", &guest, dir, &e) < 0);
	cr_assert(strstr(e.msg, "vmware"));
	bench_plan_free(&p);
	(void)snprintf(path, sizeof(path), "%s/firecracker.json", dir);
	cr_assert(unlink(path) == 0);
	(void)rmdir(dir);
}

Test(bench, firecracker_config_is_what_it_reads)
{
	auto_free char *text = bench_peer_firecracker_config(&guest);
	struct json_object *o = json_tokener_parse(text), *v, *w;

	cr_assert(o);
	cr_assert(json_object_object_get_ex(o, "boot-source", &v));
	cr_assert(json_object_object_get_ex(v, "kernel_image_path", &w));
	cr_assert_str_eq(json_object_get_string(w), "/k/vmlinux");
	cr_assert(json_object_object_get_ex(v, "boot_args", &w));
	cr_assert(strstr(json_object_get_string(w), "quiet end"));
	cr_assert(json_object_object_get_ex(o, "machine-config", &v));
	cr_assert(json_object_object_get_ex(v, "mem_size_mib", &w));
	cr_assert(json_object_get_int(w) == 128);
	json_object_put(o);
}

/* ---- runs ------------------------------------------------------------------------------------- */

static void command(struct bench_plan *p, const char *name, const char *script)
{
	struct err e = {0};
	struct bench_subject *s = bench_add(p, name, &e);

	cr_assert(s);
	s->steps = 1;
	cr_assert(bench_words(&s->step[0], "sh", "-c", script, NULL) == 0);
}

static struct bench_plan plan(void)
{
	return (struct bench_plan){
	    .what = "test", .runs = 3, .warm_up = 1, .parallel = 1, .timeout_s = 20};
}

Test(bench, runs_and_results)
{
	struct bench_plan p = plan();
	struct bench_stat st;
	struct err e = {0};
	char *text = NULL;
	size_t len = 0;
	struct json_object *o, *v;
	unsigned lines = 0;
	FILE *f;

	command(&p, "a <&\"b", "echo one");
	command(&p, "slow", "sleep 0.2; echo two");
	cr_assert(bench_run_plan(&p, NULL, &e) == 0, "%s", e.msg);
	bench_mark_stat(&p, &p.subject[1], BENCH_FIRST, &st);
	cr_assert(st.n == 3 && st.min >= 2e8);
	bench_mark_stat(&p, &p.subject[0], BENCH_END, &st);
	cr_assert(st.n == 3 && st.min > 0);
	bench_ratio_stat(&p, &p.subject[1], BENCH_FIRST, &st);
	cr_assert(st.n == 3 && st.median > 0 && st.median < 1);

	f = open_memstream(&text, &len);
	cr_assert(bench_print_json(&p, f) == 0);
	(void)fclose(f);
	o = json_tokener_parse(text);
	cr_assert(o && json_object_object_get_ex(o, "subjects", &v));
	cr_assert(json_object_array_length(v) == 2);
	cr_assert(json_object_object_get_ex(json_object_array_get_idx(v, 1), "runs", &v));
	cr_assert(json_object_array_length(v) == 3);
	json_object_put(o);
	free(text);

	f = open_memstream(&text, &len);
	bench_print_csv(&p, f);
	(void)fclose(f);
	for (char *c = text; *c; c++)
		lines += *c == '\n';
	cr_assert(lines == 7, "a head and six runs, not %u", lines);
	cr_assert(strstr(text, "\"a <&\"\"b\",1,"));
	free(text);
	bench_plan_free(&p);
}

/* Tags are closed in the order in which they were opened, and no bare & or < is in text. */
static bool well_formed(const char *s)
{
	char open[32][16];
	unsigned depth = 0;

	for (; *s; s++) {
		size_t n;

		if (*s == '&' && strncmp(s, "&lt;", 4) != 0 && strncmp(s, "&gt;", 4) != 0 &&
		    strncmp(s, "&amp;", 5) != 0)
			return false;
		if (*s != '<' || s[1] == '?')
			continue;
		n = strcspn(s + 1, " >");
		if (s[1] == '/') {
			if (!depth || n - 1 != strlen(open[depth - 1]) ||
			    strncmp(open[depth - 1], s + 2, n - 1) != 0)
				return false;
			depth--;
		} else if (s[strcspn(s, ">") - 1] != '/') {
			if (depth == ARRAY_LEN(open) || n >= sizeof(open[0]))
				return false;
			(void)snprintf(open[depth++], sizeof(open[0]), "%.*s", (int)n, s + 1);
		}
		s += strcspn(s, ">");
	}
	return depth == 0;
}

Test(bench, svg_is_well_formed)
{
	struct bench_plan p = plan();
	struct err e = {0};
	char *text = NULL;
	size_t len = 0;
	FILE *f;

	command(&p, "a <&\"b", "echo one");
	command(&p, "other", "echo two");
	cr_assert(bench_run_plan(&p, NULL, &e) == 0, "%s", e.msg);
	for (unsigned i = 0; i < 3; i++)
		p.subject[0].run[i].at[PHASE_EXEC] = 1000;
	f = open_memstream(&text, &len);
	bench_print_svg(&p, f);
	(void)fclose(f);
	cr_assert(well_formed(text), "%s", text);
	cr_assert(strstr(text, "a &lt;&amp;\"b") && strstr(text, "program runs"));
	cr_assert(!strstr(text, "nan") && !strstr(text, "inf"));
	free(text);
	bench_plan_free(&p);
}

static char *text_of(const struct bench_plan *p, void (*print)(const struct bench_plan *, FILE *))
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	print(p, f);
	(void)fclose(f);
	return text;
}

static void print_json(const struct bench_plan *p, FILE *f)
{
	cr_assert(bench_print_json(p, f) == 0);
}

/* Its figures stay blank, and the others are taken. */
Test(bench, a_peer_that_is_not_installed)
{
	struct bench_plan p = plan();
	struct bench_subject *s;
	struct err e = {0};
	char *text;

	command(&p, "ours", "echo one");
	s = bench_add(&p, "firecracker", &e);
	s->steps = 1;
	s->optional = true;
	s->ram = 1 << 20;
	cr_assert(bench_words(&s->step[0], "firecracker-of-nobody", "--no-api", NULL) == 0);
	cr_assert(bench_words(&s->prepare, "firecracker-of-nobody", NULL) == 0);
	cr_assert(bench_words(&s->undo, "firecracker-of-nobody", NULL) == 0);
	p.memory = true;
	cr_assert(bench_run_plan(&p, NULL, &e) == 0, "%s", e.msg);
	cr_expect(p.subject[0].ok == 3 && p.subject[1].ok == 0);
	text = text_of(&p, bench_print_table);
	cr_expect(strstr(text, "\nfirecracker: not installed\n") && !strstr(text, "to firecracker"),
		  "%s", text);
	free(text);
	text = text_of(&p, bench_print_csv);
	cr_expect(strstr(text, "\n\"firecracker\",,,"), "%s", text);
	free(text);
	text = text_of(&p, print_json);
	cr_expect(strstr(text, "\"installed\":false") && strstr(text, "\"installed\":true"), "%s",
		  text);
	free(text);
	text = text_of(&p, bench_print_svg);
	cr_expect(well_formed(text) && strstr(text, "not installed") && !strstr(text, "nan"), "%s",
		  text);
	free(text);
	bench_plan_free(&p);
}

Test(bench, parallel_runs_have_names_of_their_own)
{
	char dir[] = "/tmp/husk-test-bench.XXXXXX";
	auto_free char *script = NULL;
	struct bench_plan p = plan();
	struct err e = {0};

	cr_assert(mkdtemp(dir));
	p.runs = 5;
	p.parallel = 2;
	cr_assert(asprintf(&script, "mkdir %s/r{id} && echo", dir) > 0);
	command(&p, "names", script);
	cr_assert(bench_run_plan(&p, NULL, &e) == 0, "%s", e.msg);
	cr_assert(p.subject[0].ok == 5);
	free(script);
	cr_assert(asprintf(&script, "rm -r %s", dir) > 0);
	cr_assert(system(script) == 0);
	bench_plan_free(&p);
}

Test(bench, two_steps_and_what_they_leave_running)
{
	struct bench_plan p = plan();
	struct bench_run r;
	struct err e = {0};

	/* The first leaves a process behind that speaks when the second has been there. */
	command(&p, "pair",
		"rm -f /tmp/husk-bench-go.$PPID; (while [ ! -e /tmp/husk-bench-go.$PPID ]; do "
		"sleep 0.01; done; echo hello; rm /tmp/husk-bench-go.$PPID) &");
	cr_assert(
	    bench_words(&p.subject[0].step[1], "sh", "-c", ">/tmp/husk-bench-go.$PPID", NULL) == 0);
	p.subject[0].steps = 2;
	cr_assert(bench_exec(&p, &p.subject[0], 1, false, &r, &e) == 0, "%s", e.msg);
	cr_assert(r.at[BENCH_CREATED] && r.at[BENCH_STARTED] > r.at[BENCH_CREATED]);
	cr_assert(r.at[BENCH_FIRST] > r.at[BENCH_CREATED]);
	bench_plan_free(&p);
}

Test(bench, failures_say_who_and_why)
{
	struct bench_plan p = plan();
	struct bench_run r;
	struct err e = {0};

	command(&p, "mute", "echo the reason >&2; echo '{\"phases_ns\":{}}' >&2; exit 3");
	cr_assert(bench_exec(&p, &p.subject[0], 1, false, &r, &e) == -EIO);
	cr_assert(strstr(e.msg, "mute") && strstr(e.msg, "3") && strstr(e.msg, "the reason"), "%s",
		  e.msg);
	e = (struct err){0};
	p.timeout_s = 1;
	command(&p, "hangs", "exec sleep 100");
	cr_assert(bench_exec(&p, &p.subject[1], 1, false, &r, &e) == -ETIMEDOUT);
	e = (struct err){0};
	p.until = "second";
	p.timeout_s = 20;
	command(&p, "until", "echo first; sleep 0.1; echo second; exec sleep 100");
	p.subject[2].stop = SIGTERM;
	cr_assert(bench_exec(&p, &p.subject[2], 1, false, &r, &e) == 0, "%s", e.msg);
	cr_assert(r.at[BENCH_FIRST] >= 100 * NS_PER_MS && r.at[BENCH_END] < 10 * NS_PER_SEC);
	bench_plan_free(&p);
}

Test(bench, options)
{
	struct bench_opts o = {0};
	struct err e = {0};

	cr_assert(bench_opt(&o, "runs", "30", &e) == 1 && o.runs == 30);
	cr_assert(bench_opt(&o, "json", NULL, &e) == 1 && o.json);
	cr_assert(bench_opt(&o, "peer", "qemu", &e) == 1 && o.peers == 1);
	cr_assert(bench_opt(&o, "kernel", "x", &e) == 0);
	cr_assert(bench_opt(&o, "runs", "0", &e) == -EINVAL);
	cr_assert(bench_opt(&o, "parallel", "2x", &e) == -EINVAL);
}

Test(bench, payload)
{
	cr_assert(payload_is("/" PAYLOAD_NAME) && payload_is(PAYLOAD_NAME));
	cr_assert(!payload_is("husk") && !payload_is("/x/husk") && !payload_is(NULL));
}
