/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm check` without a guest: verdict, the two reports, the sentences about a device that is
 * missing, foreign or forbidden, misuse of the command.
 */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "vmm/check.h"
#include "vmm/cmds.h"

/* A report of a host on which all is well; tests break one thing. */
static struct check_report good(void)
{
	struct check_report r = {.dev = "/dev/kvm"};

	r.guest.stage_cnt = 3;
	r.guest.mips = 1234.5;
	r.guest.stage[0] = (struct check_stage){
	    .name = "speed", .what = "fast", .required = true, .reason = "1234 MIPS", .ns = 7};
	r.guest.stage[1] = (struct check_stage){.name = "xsave",
						.what = "XSAVE",
						.required = true,
						.result = CHECK_SKIP,
						.reason = "not offered"};
	r.guest.stage[2] =
	    (struct check_stage){.name = "tsc-deadline", .what = "timer", .required = false};
	r.guest.create_vm = (struct check_cost){.min = 1, .median = 2, .max = 3, .n = 5};
	r.host.cap_cnt = 2;
	r.host.cap[0] = (struct check_cap){"SIGNAL_MSI", 1, true, 1, "interrupts"};
	r.host.cap[1] = (struct check_cap){"IRQFD", 2, false, 1, "vhost"};
	r.host.uring_works = true;
	r.host.item_cnt = 1;
	r.host.item[0] = (struct check_item){"ksm", CHECK_WARN, "running", "side channel"};
	return r;
}

static void cannot(struct check_report *r, const char *why)
{
	check_verdict(r);
	cr_assert_not(r->can_run);
	cr_assert_str_eq(r->verdict, why);
}

Test(check_verdict, whole_host)
{
	struct check_report r = good();

	check_verdict(&r);
	cr_assert(r.can_run);
	cr_assert_str_eq(r.verdict, "this host can run guests");
}

Test(check_verdict, required_stage_fails)
{
	struct check_report r = good();

	r.guest.stage[0].result = CHECK_FAIL;
	strcpy(r.guest.stage[0].reason, "too slow");
	cannot(&r, "this host cannot run guests: speed: too slow");
}

Test(check_verdict, first_failure_is_named)
{
	struct check_report r = good();

	r.guest.stage[1].result = CHECK_FAIL;
	strcpy(r.guest.stage[1].reason, "at xrstor");
	r.host.cap[0].value = 0;
	cannot(&r, "this host cannot run guests: xsave: at xrstor");
}

Test(check_verdict, useful_stage_and_capability_do_not_decide)
{
	struct check_report r = good();

	r.guest.stage[2].result = CHECK_FAIL;
	r.host.cap[1].value = 0;
	check_verdict(&r);
	cr_assert(r.can_run);
}

Test(check_verdict, required_capability)
{
	struct check_report r = good();

	r.host.cap[0].value = 0;
	cannot(&r, "this host cannot run guests: KVM lacks KVM_CAP_SIGNAL_MSI: interrupts");
}

Test(check_verdict, io_uring)
{
	struct check_report r = good();

	r.host.uring_works = false;
	strcpy(r.host.uring_reason, "io_uring is refused: kernel.io_uring_disabled=2");
	cannot(&r, "this host cannot run guests: io_uring is refused: kernel.io_uring_disabled=2");
}

Test(check_verdict, nothing_tried_is_no_pass)
{
	struct check_report r = good();

	r.guest.stage_cnt = 0;
	cannot(&r, "this host cannot run guests: nothing was tried");
	r.guest.err.code = -ENOENT;
	strcpy(r.guest.err.msg, "/dev/kvm does not exist");
	cannot(&r, "this host cannot run guests: /dev/kvm does not exist");
}

static struct json_object *get(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = NULL;

	cr_assert(json_object_object_get_ex(o, key, &v), "no key '%s'", key);
	cr_assert_eq(json_object_get_type(v), type, "type of '%s'", key);
	return v;
}

Test(check_json, keys)
{
	struct check_report r = good();
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	struct json_object *o, *s;

	r.host.cap[1].value = 0;
	check_verdict(&r);
	cr_assert_eq(check_print_json(&r, f), 0);
	fclose(f);
	o = json_tokener_parse(text);
	cr_assert_not_null(o);
	cr_assert(json_object_get_boolean(get(o, "can_run", json_type_boolean)));
	cr_assert_str_eq(json_object_get_string(get(o, "device", json_type_string)), "/dev/kvm");
	cr_assert_float_eq(json_object_get_double(get(o, "mips", json_type_double)), 1234.5, 0.001);
	s = get(o, "stages", json_type_array);
	cr_assert_eq(json_object_array_length(s), 3);
	s = json_object_array_get_idx(s, 1);
	cr_assert_str_eq(json_object_get_string(get(s, "name", json_type_string)), "xsave");
	cr_assert_str_eq(json_object_get_string(get(s, "result", json_type_string)), "skip");
	cr_assert_str_eq(json_object_get_string(get(s, "reason", json_type_string)), "not offered");
	s = json_object_array_get_idx(get(o, "stages", json_type_array), 0);
	cr_assert_str_eq(json_object_get_string(get(s, "reason", json_type_string)), "");
	cr_assert_str_eq(json_object_get_string(get(s, "note", json_type_string)), "1234 MIPS");
	s = get(get(o, "cost_ns", json_type_object), "create_vm", json_type_object);
	cr_assert_eq(json_object_get_int(get(s, "median", json_type_int)), 2);
	/* Not measured is null, never zero. */
	(void)get(get(o, "cost_ns", json_type_object), "exit_user", json_type_null);
	s = json_object_array_get_idx(get(o, "capabilities", json_type_array), 1);
	cr_assert_not(json_object_get_boolean(get(s, "present", json_type_boolean)));
	cr_assert_str_eq(json_object_get_string(get(s, "lost", json_type_string)), "vhost");
	s = json_object_array_get_idx(get(o, "host", json_type_array), 0);
	cr_assert_str_eq(json_object_get_string(get(s, "level", json_type_string)), "warning");
	cr_assert(json_object_get_boolean(
	    get(get(o, "io_uring", json_type_object), "works", json_type_boolean)));
	(void)get(o, "limits", json_type_object);
	json_object_put(o);
	free(text);
}

static char *text_of(bool colour)
{
	struct check_report r = good();
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	check_verdict(&r);
	check_print_text(&r, f, colour);
	fclose(f);
	return text;
}

Test(check_text, verdict_is_the_last_line)
{
	auto_free char *text = text_of(false);
	const char *end = "\nthis host can run guests\n";

	cr_assert(strlen(text) > strlen(end));
	cr_assert_str_eq(text + strlen(text) - strlen(end), end);
	cr_assert_null(strchr(text, '\033'));
	cr_assert_not_null(strstr(text, "speed"));
	cr_assert_not_null(strstr(text, "side channel"));
}

Test(check_text, colour_only_when_asked)
{
	auto_free char *text = text_of(true);

	cr_assert_not_null(strchr(text, '\033'));
}

/* ---- the device --------------------------------------------------------------------------------
 */
static void refused(const char *dev, int code, const char *part)
{
	static struct check_guest g;
	struct err e = {0};

	cr_assert_eq(check_open_kvm(dev, &e), code, "%s: %d %s", dev, e.code, e.msg);
	cr_assert_not_null(strstr(e.msg, part), "'%s' is not in '%s'", part, e.msg);
	cr_assert_not_null(strstr(e.msg, dev));
	cr_assert_eq(check_guest_run(dev, 0, &g), code);
	cr_assert_str_eq(g.err.msg, e.msg);
	cr_assert_eq(g.stage_cnt, 0);
}

Test(check_device, missing)
{
	refused("/nonexistent/kvm", -ENOENT, "does not exist");
}

Test(check_device, foreign)
{
	refused("/dev/null", -ENOTTY, "is not a KVM device");
}

Test(check_device, directory)
{
	refused("/", -EISDIR, "cannot open");
}

Test(check_device, forbidden)
{
	char path[] = "/tmp/check-XXXXXX";
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	close(fd);
	if (geteuid() == 0) {
		cr_assert_eq(chmod(path, 0060), 0);
		cr_assert_eq(chown(path, 0, 0), 0);
		cr_assert_eq(setegid(65534), 0);
		cr_assert_eq(seteuid(65534), 0);
		refused(path, -EACCES, "join the group 'root'");
		cr_assert_eq(seteuid(0), 0);
		cr_assert_eq(chmod(path, 0), 0);
		cr_assert_eq(seteuid(65534), 0);
	} else {
		cr_assert_eq(chmod(path, 0), 0);
	}
	refused(path, -EACCES, "its mode is 000");
	if (seteuid(0))
		cr_log_info("not root");
	unlink(path);
}

/* ---- the command -------------------------------------------------------------------------------
 */
Test(check_cmd, missing_device_is_1, .init = cr_redirect_stdout)
{
	char *argv[] = {(char[]){"check"}, (char[]){"--quick"}, (char[]){"--device"},
			(char[]){"/nonexistent/kvm"}, NULL};

	cr_assert_eq(cmd_check(4, argv), 1);
	fflush(stdout);
	cr_assert_stdout_eq_str(
	    "this host cannot run guests: /nonexistent/kvm does not exist: load "
	    "kvm_intel or kvm_amd, or turn virtualization on in the firmware or the "
	    "outer hypervisor\n");
}

Test(check_cmd, misuse_is_2, .init = cr_redirect_stderr)
{
	char *extra[] = {(char[]){"check"}, (char[]){"x"}, NULL};
	char *unknown[] = {(char[]){"check"}, (char[]){"--bogus"}, NULL};
	char *no_value[] = {(char[]){"check"}, (char[]){"--device"}, NULL};
	char *both[] = {(char[]){"check"}, (char[]){"--json"}, (char[]){"--quick"}, NULL};

	cr_assert_eq(cmd_check(2, extra), 2);
	cr_assert_eq(cmd_check(2, unknown), 2);
	cr_assert_eq(cmd_check(2, no_value), 2);
	cr_assert_eq(cmd_check(3, both), 2);
	fflush(stderr);
	cr_assert_stderr_eq_str("vmm: check: unexpected argument 'x'\n"
				"vmm: check: unknown option '--bogus'\n"
				"vmm: check: no value for option '--device'\n"
				"vmm: check: --json and --quick exclude each other\n");
}

Test(check_host, settings_are_read)
{
	static struct check_host h;
	bool kernel = false;

	check_host_run("/nonexistent/kvm", 0, &h);
	cr_assert_eq(h.cap_cnt, 0);
	cr_assert(h.item_cnt > 5 && h.item_cnt <= CHECK_ITEM_MAX);
	for (unsigned i = 0; i < h.item_cnt; i++) {
		cr_assert_neq(h.item[i].value[0], '\0', "%s", h.item[i].name);
		kernel = kernel || !strcmp(h.item[i].name, "kernel");
	}
	cr_assert(kernel);
	check_host_run("/nonexistent/kvm", CHECK_QUICK, &h);
	cr_assert_eq(h.item_cnt, 0);
}
