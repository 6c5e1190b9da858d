/* SPDX-License-Identifier: Apache-2.0 */
/* husk.conf: what it may say, what is refused and how; annotations that it allows. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/annot.h"
#include "runtime/config.h"

#define MIB (UINT64_C(1) << 20)

static int parse(struct config *c, const char *text, struct err *e)
{
	*e = (struct err){0};
	return config_parse(c, "f.conf", text, strlen(text), e);
}

static void refused(const char *text, const char *why)
{
	struct config c;
	struct err e;

	cr_expect(eq(int, parse(&c, text, &e), -EINVAL), "%s", text);
	cr_expect(strncmp(e.msg, "f.conf: ", 8) == 0, "%s", e.msg);
	cr_expect(strstr(e.msg, why) != NULL, "%s: %s", text, e.msg);
	cr_expect(c.doc == NULL);
	config_free(&c);
}

Test(config, all_keys)
{
	struct config c;
	struct err e;
	int rc =
	    parse(&c,
		  "{ // the machine\n"
		  " \"kernel\": \"/k//v\", \"image\": \"/i\", \"kernel_params\": \"a=b c\",\n"
		  " \"memory\": {\"default\": \"1G\", \"min\": \"256M\", \"max\": \"2T\",\n"
		  "  /* two\n lines */ \"guest_overhead\": \"80M\", \"host_overhead\": "
		  "\"65536K\", \"balloon\": false},\n"
		  " \"vcpus\": {\"default\": 2, \"max\": 8},\n"
		  " \"network\": {\"model\": \"bridge\", \"rx_rate\": \"10M\", \"tx_rate\": \"1K\","
		  " \"rx_packets\": 5, \"tx_packets\": 6, \"burst_ms\": 20},\n"
		  " \"enable_annotations\": [\"memory\", \"kernel\"],\n"
		  " \"annotation_paths\": [\"/k/*\"], \"log_level\": \"warn\", \"debug\": "
		  "true}\n",
		  &e);

	cr_assert(eq(int, rc, 0), "%s", e.msg);
	cr_expect_str_eq(c.kernel, "/k//v"); /* two slashes in a string are no comment */
	cr_expect_str_eq(c.image, "/i");
	cr_expect_str_eq(c.kernel_params, "a=b c");
	cr_expect(eq(u64, c.memory.standard, 1024 * MIB));
	cr_expect(eq(u64, c.memory.min, 256 * MIB));
	cr_expect(eq(u64, c.memory.max, 2 * 1024 * 1024 * MIB));
	cr_expect(eq(u64, c.memory.guest, 80 * MIB));
	cr_expect(eq(u64, c.memory.host, 64 * MIB));
	cr_expect(not(c.memory.balloon));
	cr_expect(eq(u64, c.vcpus.standard, 2));
	cr_expect(eq(u64, c.vcpus.max, 8));
	cr_expect(eq(u64, c.net.rx_rate, 10 * MIB));
	cr_expect(eq(u64, c.net.tx_rate, 1024));
	cr_expect(eq(u64, c.net.rx_packets, 5));
	cr_expect(eq(u64, c.net.tx_packets, 6));
	cr_expect(eq(u64, c.net.burst_ms, 20));
	cr_expect(config_lists(c.annotations, "memory"));
	cr_expect(not(config_lists(c.annotations, "vcpus")));
	cr_expect(eq(u64, c.log_level, LOG_LVL_WARN));
	cr_expect(c.debug);
	config_free(&c);
}

Test(config, defaults_are_valid)
{
	struct config c, d;
	struct json_object *o;
	struct err e;

	config_defaults(&d);
	cr_assert(eq(int, parse(&c, "{}", &e), 0), "%s", e.msg);
	cr_expect(eq(u64, c.memory.standard, d.memory.standard));
	cr_expect(c.memory.balloon);
	config_free(&c);
	/* What is shown can be read again, but for what is not set. */
	o = config_to_json(&d);
	json_object_object_del(o, "kernel");
	json_object_object_del(o, "image");
	json_object_object_del(json_at(o, "memory"), "max");
	cr_assert(eq(int, parse(&c, json_object_to_json_string(o), &e), 0), "%s", e.msg);
	cr_expect(eq(u64, c.memory.host, d.memory.host));
	config_free(&c);
	(void)json_object_put(o);
}

Test(config, wrong_values_are_named)
{
	refused("", "not JSON");
	refused("[]", "expected an object");
	refused("{\"memory\":{\"default\":\"1G\"}", "ends too early");
	refused("{\"debug\":true}}", "line 1");
	refused("{ /* no end }", "a comment has no end");
	refused("{\n/*\n*/\n oops}", "line 4");
	refused("{\"kernl\":\"/a\"}", "unknown key 'kernl'");
	refused("{\"memory\":{\"defualt\":\"1G\"}}", "unknown key 'memory.defualt'");
	refused("{\"memory.default\":\"1G\"}", "unknown key 'memory.default'");
	refused("{\"kernel\":{\"x\":1}}", "kernel: expected an absolute path");
	refused("{\"kernel\":\"a\"}", "kernel: expected an absolute path");
	refused("{\"kernel\":\"/a\\u0000b\"}", "kernel: expected an absolute path");
	refused("{\"kernel\":null}", "kernel: expected an absolute path");
	refused("{\"memory\":1}", "memory: expected an object");
	refused("{\"memory\":{\"default\":268435456}}", "memory.default: expected a size such as");
	refused("{\"memory\":{\"default\":\"256\"}}", "expected a size");
	refused("{\"memory\":{\"default\":\"256MB\"}}", "expected a size");
	refused("{\"memory\":{\"default\":\"-1M\"}}", "expected a size");
	refused("{\"memory\":{\"default\":\"63M\"}}", "from 64M to 16T");
	refused("{\"memory\":{\"default\":\"17592186044416T\"}}", "from 64M to 16T");
	refused("{\"memory\":{\"default\":\"18446744073709551617K\"}}", "expected a size");
	refused("{\"memory\":{\"default\":\"127M\"}}", "memory.default is below memory.min");
	refused("{\"memory\":{\"max\":\"200M\"}}", "memory.max is below memory.default");
	refused("{\"vcpus\":{\"default\":0}}", "vcpus.default: expected a whole number from 1");
	refused("{\"vcpus\":{\"default\":-1}}", "vcpus.default: expected a whole number");
	refused("{\"vcpus\":{\"default\":65}}", "to 64");
	refused("{\"vcpus\":{\"default\":18446744073709551615}}", "to 64");
	refused("{\"vcpus\":{\"default\":4,\"max\":2}}", "vcpus.max is below vcpus.default");
	refused("{\"vcpus\":{\"default\":1.5}}", "expected a whole number");
	refused("{\"enable_annotations\":[\"memory\",\"root\"]}", "'root' is none of memory, ");
	refused("{\"enable_annotations\":\"memory\"}", "expected an array");
	refused("{\"enable_annotations\":[1]}", "expected an array of strings");
	refused("{\"annotation_paths\":[\"x\"]}", "'x' is not an absolute path");
	refused("{\"log_level\":\"loud\"}", "log_level: expected one of error, warn, info, debug");
	refused("{\"debug\":1}", "debug: expected true or false");
	refused("{\"kernel_params\":\"a\\nb\"}", "kernel_params: character 2");
	refused("{\"kernel_params\":\"a=\\\"b\"}", "kernel_params: character 3");
}

Test(config, long_params_and_keys)
{
	char text[CONFIG_PARAMS_MAX + 64], key[300];

	(void)snprintf(text, sizeof(text), "{\"kernel_params\":\"%0*d\"}",
		       (int)CONFIG_PARAMS_MAX + 1, 1);
	refused(text, "longer than 1024");
	(void)snprintf(key, sizeof(key), "{\"%0200d\":1}", 1);
	refused(key, "unknown key");
	(void)snprintf(key, sizeof(key), "{\"memory\":{\"%0200d\":1}}", 1);
	refused(key, "unknown key");
}

Test(config, file)
{
	char dir[] = "/tmp/husk-config-XXXXXX", path[64];
	struct config c = {0};
	struct err e = {0};

	cr_assert(mkdtemp(dir) != NULL);
	(void)snprintf(path, sizeof(path), "%s/a.conf", dir);
	cr_expect(eq(int, config_load(&c, path, &e), -ENOENT));
	cr_expect(strstr(e.msg, path) != NULL && strstr(e.msg, "No such file"), "%s", e.msg);
	cr_assert(eq(int, fd_write_file(AT_FDCWD, path, "{\"debug\":2}", 11, 0600), 0));
	e = (struct err){0};
	cr_expect(eq(int, config_load(&c, path, &e), -EINVAL));
	cr_expect(strstr(e.msg, path) != NULL && strstr(e.msg, "debug: "), "%s", e.msg);
	cr_assert(eq(int, fd_write_file(AT_FDCWD, path, "{\"debug\":true}", 14, 0600), 0));
	e = (struct err){0};
	cr_assert(eq(int, config_load(&c, path, &e), 0), "%s", e.msg);
	cr_expect_str_eq(c.path, path);
	config_free(&c);
	(void)unlink(path);
	(void)rmdir(dir);
}

Test(config, every_key_is_in_the_manual)
{
	auto_free char *man = NULL;
	const char *name;

	cr_assert(eq(int, fd_read_file(AT_FDCWD, "docs/man/husk.conf.5", 1 << 20, &man, NULL), 0));
	for (size_t i = 0; (name = config_key_name(i)); i++) {
		char row[96];

		(void)snprintf(row, sizeof(row), ".It Cm %s ", name);
		cr_expect(strstr(man, row) != NULL, "'%s' is not in husk.conf(5)", name);
	}
}

Test(config, sizes)
{
	uint64_t v = 7;

	cr_expect(eq(int, config_size("1K", &v), 0));
	cr_expect(eq(u64, v, 1024));
	cr_expect(eq(int, config_size("16777215T", &v), 0));
	cr_expect(eq(u64, v, UINT64_C(16777215) << 40));
	cr_expect(eq(int, config_size("16777216T", &v), -ERANGE));
	cr_expect(eq(int, config_size("99999999999999999999K", &v), -ERANGE));
	cr_expect(eq(int, config_size("", &v), -EINVAL));
	cr_expect(eq(int, config_size("K", &v), -EINVAL));
	cr_expect(eq(int, config_size(" 1K", &v), -EINVAL));
	cr_expect(eq(int, config_size("1k", &v), -EINVAL));
	cr_expect(eq(int, config_size("0x10M", &v), -EINVAL));
}

/* ---- annotations ----------------------------------------------------------------------------- */

#define CONF                                                                                       \
	"{\"enable_annotations\":[\"memory\",\"vcpus\",\"kernel\",\"kernel_params\",\"network_rx_" \
	"rate\"],"                                                                                 \
	"\"annotation_paths\":[\"/opt/k/*\",\"/one\"]}"

static int annotate(const char *conf, const char *text, struct annot *a, struct err *e)
{
	struct json_object *o = json_tokener_parse(text);
	struct config c;
	struct err ignored;
	int rc;

	cr_assert(o != NULL, "%s", text);
	cr_assert(eq(int, parse(&c, conf, &ignored), 0));
	*e = (struct err){0};
	rc = annot_read(a, o, &c, e);
	config_free(&c);
	/* The document has to stay for its strings: a leak that a test may have. */
	return rc;
}

static void annot_refused(const char *conf, const char *text, const char *why)
{
	struct annot a;
	struct err e;

	cr_expect(lt(int, annotate(conf, text, &a, &e), 0), "%s", text);
	cr_expect(strncmp(e.msg, "annotation io.husk.", 19) == 0, "%s", e.msg);
	cr_expect(strstr(e.msg, why) != NULL, "%s", e.msg);
}

Test(annot, allowed)
{
	struct annot a;
	struct err e;
	int rc = annotate(CONF,
			  "{\"io.husk.memory\":\"512M\",\"io.husk.vcpus\":\"2\","
			  "\"io.husk.kernel\":\"/opt/k/v6\",\"io.husk.kernel_params\":\"debug\","
			  "\"io.husk.network_rx_rate\":\"10M\","
			  "\"io.husk.unheard-of\":\"1\",\"a.b\":\"c\"}",
			  &a, &e);

	cr_assert(eq(int, rc, 0), "%s", e.msg);
	cr_expect(eq(u64, a.memory, 512 * MIB));
	cr_expect(eq(u32, a.vcpus, 2));
	cr_expect_str_eq(a.kernel, "/opt/k/v6");
	cr_expect(eq(u64, a.rx_rate, 10 * MIB));
	cr_expect(eq(u64, a.tx_rate, 0));
	cr_expect_str_eq(a.kernel_params, "debug");
	cr_expect(eq(int, annotate("{}", "{}", &a, &e), 0));
	cr_expect(eq(u64, a.memory, 0));
}

Test(annot, refused)
{
	annot_refused("{}", "{\"io.husk.memory\":\"512M\"}", "not allowed: enable_annotations");
	annot_refused("{\"enable_annotations\":[\"vcpus\"]}", "{\"io.husk.memory\":\"512M\"}",
		      "does not have 'memory'");
	annot_refused(CONF, "{\"io.husk.memory\":\"512\"}", "not a size");
	annot_refused(CONF, "{\"io.husk.network_rx_rate\":\"0K\"}", "not a size");
	annot_refused(CONF, "{\"io.husk.network_tx_rate\":\"1M\"}", "not allowed");
	annot_refused(CONF, "{\"io.husk.memory\":\"0M\"}", "not a size");
	annot_refused(CONF, "{\"io.husk.vcpus\":\"0\"}", "not a number from 1");
	annot_refused(CONF, "{\"io.husk.vcpus\":\"+1\"}", "not a number from 1");
	annot_refused(CONF, "{\"io.husk.vcpus\":\"4294967297\"}", "not a number from 1");
	annot_refused(CONF, "{\"io.husk.vcpus\":\"36893488147419103233\"}", "not a number from 1");
	annot_refused(CONF, "{\"io.husk.kernel\":\"/etc/shadow\"}", "matches no pattern");
	annot_refused(CONF, "{\"io.husk.kernel\":\"/opt/k/a/b\"}", "matches no pattern");
	annot_refused(CONF, "{\"io.husk.kernel\":\"/opt/k/../../etc/shadow\"}",
		      "not a plain absolute path");
	annot_refused(CONF, "{\"io.husk.kernel\":\"/opt/k/..\"}", "not a plain absolute path");
	annot_refused(CONF, "{\"io.husk.kernel\":\"opt\"}", "not a plain absolute path");
	annot_refused("{\"enable_annotations\":[\"kernel\"]}", "{\"io.husk.kernel\":\"/one\"}",
		      "matches no pattern");
	annot_refused(CONF, "{\"io.husk.kernel_params\":\"a\\u0001\"}", "character 2");
}

Test(annot, cri_figures_of_a_sandbox)
{
	struct annot a;
	struct err e;

	cr_assert(eq(int,
		     annotate("{}",
			      "{\"io.kubernetes.cri.container-type\":\"sandbox\","
			      "\"io.kubernetes.cri.sandbox-memory\":\"1073741824\","
			      "\"io.kubernetes.cri.sandbox-cpu-quota\":\"150000\","
			      "\"io.kubernetes.cri.sandbox-cpu-period\":\"100000\","
			      "\"io.kubernetes.cri.sandbox-cpu-shares\":\"1536\"}",
			      &a, &e),
		     0));
	cr_expect(eq(i64, a.pod_memory, 1 << 30));
	cr_expect(eq(i64, a.pod_quota, 150000));
	cr_expect(eq(u64, a.pod_period, 100000));
	cr_expect(eq(u64, a.pod_shares, 1536));
	/* Strange ones are left out; those of a member are not the VM's. */
	cr_assert(eq(int,
		     annotate("{}",
			      "{\"io.kubernetes.cri.container-type\":\"sandbox\","
			      "\"io.kubernetes.cri.sandbox-memory\":\"9223372036854775808\","
			      "\"io.kubernetes.cri.sandbox-cpu-quota\":\"-1\"}",
			      &a, &e),
		     0));
	cr_expect(eq(i64, a.pod_memory, 0));
	cr_expect(eq(i64, a.pod_quota, 0));
	cr_assert(eq(int,
		     annotate("{}",
			      "{\"io.kubernetes.cri.container-type\":\"container\","
			      "\"io.kubernetes.cri.sandbox-memory\":\"1024\"}",
			      &a, &e),
		     0));
	cr_expect(eq(i64, a.pod_memory, 0));
}

Test(annot, crio_figures_of_a_sandbox)
{
	struct annot a;
	struct err e;

	cr_assert(eq(int,
		     annotate("{}",
			      "{\"io.kubernetes.cri-o.ContainerType\":\"sandbox\","
			      "\"io.kubernetes.cri-o.PodLinuxResources\":"
			      "\"{\\\"cpu_period\\\":100000,\\\"cpu_quota\\\":150000,"
			      "\\\"memory_limit_in_bytes\\\":1073741824}\"}",
			      &a, &e),
		     0));
	cr_expect(eq(i64, a.pod_memory, 1 << 30));
	cr_expect(eq(i64, a.pod_quota, 150000));
	cr_expect(eq(u64, a.pod_period, 100000));
	cr_assert(eq(
	    int,
	    annotate("{}",
		     "{\"io.kubernetes.cri-o.ContainerType\":\"sandbox\","
		     "\"io.kubernetes.cri-o.PodLinuxResources\":\"{\\\"cpu_quota\\\":\\\"x\\\"}\"}",
		     &a, &e),
	    0));
	cr_expect(eq(i64, a.pod_quota, 0));
	cr_assert(eq(
	    int,
	    annotate(
		"{}",
		"{\"io.kubernetes.cri-o.ContainerType\":\"sandbox\","
		"\"io.kubernetes.cri-o.PodLinuxResources\":\"{\\\"memory_limit_in_bytes\\\":-5}\"}",
		&a, &e),
	    0));
	cr_expect(eq(i64, a.pod_memory, 0));
}
