/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_args.c, run_json.c: what options and the configuration file may say, and the sentence for
 * what they may not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "vmm/run_args.h"

static struct run_config cfg;
static struct err e;
static char word[128]; /* run_set() may cut it up */

static void begin(void)
{
	run_forget_config(&cfg);
	cfg = (struct run_config){.cpus = 1, .append = ""};
	e = (struct err){0};
}

static int set(enum run_opt opt, const char *arg)
{
	(void)snprintf(word, sizeof(word), "%s", arg);
	return run_set(&cfg, opt, word, &e);
}

static int config(const char *text)
{
	begin();
	return run_parse_config(&cfg, text, strlen(text), &e);
}

Test(run_args, sizes)
{
	static const struct {
		const char *s;
		uint64_t want;
	} good[] = {
	    {"128", 128ull << 20},
	    {"1K", 1024},
	    {"2k", 2048},
	    {"128M", 128ull << 20},
	    {"3m", 3ull << 20},
	    {"1G", 1ull << 30},
	    {"0", 0},
	    {"8g", 8ull << 30},
	    {"17179869183G", 17179869183ull << 30},
	};
	static const char *const bad[] = {"",	  "M",	  "-1",		  " 1",
					  "+1",	  "1.5G", "1GB",	  "1T",
					  "0x10", "1 M",  "17179869184G", "99999999999999999999"};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cr_assert_eq(run_parse_size(good[i].s, &v), 0, "%s", good[i].s);
		cr_assert_eq(v, good[i].want, "%s", good[i].s);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(run_parse_size(bad[i], &v), -EINVAL, "'%s'", bad[i]);
}

Test(run_args, mac_addresses)
{
	static const char *const bad[] = {
	    "",
	    "02:00:00:00:00",
	    "02:00:00:00:00:0",
	    "02:00:00:00:00:011",
	    "01:00:00:00:00:01",
	    "02-00-00-00-00-01",
	    "02:00:00:00:00:0g",
	    "ff:ff:ff:ff:ff:ff",
	    "2:00:00:00:00:01",
	    "02:00:00:00:00:01 ",
	};
	static const uint8_t want[6] = {0x02, 0xab, 0xcd, 0xef, 0x00, 0x11};
	uint8_t mac[6];

	cr_assert_eq(run_parse_mac("02:aB:cD:eF:00:11", mac), 0);
	cr_assert_arr_eq(mac, want, 6);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(run_parse_mac(bad[i], mac), -EINVAL, "'%s'", bad[i]);
}

Test(run_args, devices)
{
	char disk[] = "a.img,ro", share[] = "/srv,ro,tag=t", pmem[] = "p,root,ro",
	     net[] = "tap=t0,mac=02:00:00:00:00:01";

	begin();
	cr_assert_eq(run_set(&cfg, RUN_OPT_DISK, disk, &e), 0);
	cr_assert_eq(run_set(&cfg, RUN_OPT_SHARE, share, &e), 0);
	cr_assert_eq(run_set(&cfg, RUN_OPT_PMEM, pmem, &e), 0);
	cr_assert_eq(run_set(&cfg, RUN_OPT_NET, net, &e), 0);
	cr_assert_str_eq(cfg.disk[0].path, "a.img");
	cr_assert(cfg.disk[0].readonly);
	cr_assert_str_eq(cfg.share[0].path, "/srv");
	cr_assert_str_eq(cfg.share[0].tag, "t");
	cr_assert(cfg.share[0].readonly);
	cr_assert_str_eq(cfg.pmem[0].path, "p");
	cr_assert(cfg.pmem[0].readonly && cfg.pmem[0].root);
	cr_assert_str_eq(cfg.net[0].tap, "t0");
	cr_assert(cfg.net[0].has_mac);
	cr_assert_eq(cfg.net[0].mac[5], 1);
	cr_assert_eq(cfg.disk_cnt + cfg.share_cnt + cfg.pmem_cnt + cfg.net_cnt, 4);
}

Test(run_args, roots)
{
	char whole[] = "p,root", part[] = "p,ro,root=p3", none[] = "p,root=3",
	     twice[] = "p,root,root=p1", zero[] = "p,root=p0";

	begin();
	cr_assert_eq(run_set(&cfg, RUN_OPT_PMEM, whole, &e), 0);
	cr_assert_eq(run_set(&cfg, RUN_OPT_PMEM, part, &e), 0);
	cr_assert(cfg.pmem[0].root && !cfg.pmem[0].part);
	cr_assert(cfg.pmem[1].root && cfg.pmem[1].readonly && cfg.pmem[1].part == 3);
	cr_assert_lt(run_set(&cfg, RUN_OPT_PMEM, none, &e), 0);
	cr_assert_lt(run_set(&cfg, RUN_OPT_PMEM, twice, &e), 0);
	cr_assert_lt(run_set(&cfg, RUN_OPT_PMEM, zero, &e), 0);
	cr_assert_eq(config("{\"pmem\":[{\"file\":\"p\",\"root\":\"p2\"}]}"), 0, "%s", e.msg);
	cr_assert(cfg.pmem[0].root && cfg.pmem[0].part == 2);
	begin();
}

Test(run_args, network_cards)
{
	char words[][48] = {"tap=t0,queues=4,mtu=9000", "passt", "passt=/run/p,mtu=1400"};

	begin();
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		cr_assert_eq(run_set(&cfg, RUN_OPT_NET, words[i], &e), 0, "%s", e.msg);
	cr_assert_eq(cfg.net[0].queues, 4);
	cr_assert_eq(cfg.net[0].mtu, 9000);
	cr_assert_null(cfg.net[0].passt);
	cr_assert_str_eq(cfg.net[1].passt, "");
	cr_assert_null(cfg.net[1].tap);
	cr_assert_str_eq(cfg.net[2].passt, "/run/p");
	cr_assert_eq(cfg.net[2].mtu, 1400);
	cr_assert_eq(config("{\"net\":[{\"tap\":\"t\",\"queues\":2,\"mtu\":68},{\"passt\":true},"
			    "{\"passt\":\"/p\"}]}"),
		     0, "%s", e.msg);
	cr_assert_eq(cfg.net[0].queues, 2);
	cr_assert_eq(cfg.net[0].mtu, 68);
	cr_assert_str_eq(cfg.net[1].passt, "");
	cr_assert_str_eq(cfg.net[2].passt, "/p");
	begin();
}

#define NET_TAKES                                                                                  \
	"--net takes tap=NAME[,mac=MAC][,mtu=N][,queues=N] or passt[=SOCKET][,mac=MAC][,mtu=N]"

Test(run_args, each_wrong_word_has_its_sentence)
{
	static const struct {
		enum run_opt opt;
		const char *arg, *want;
	} cases[] = {
	    {RUN_OPT_MEMORY, "0", "--memory takes a size such as 128M, not '0'"},
	    {RUN_OPT_CPUS, "0", "--cpus takes a number from 1 to 64, not '0'"},
	    {RUN_OPT_CPUS, "65", "--cpus takes a number from 1 to 64, not '65'"},
	    {RUN_OPT_CPUS, "-1", "--cpus takes a number from 1 to 64, not '-1'"},
	    {RUN_OPT_CPUS, "2x", "--cpus takes a number from 1 to 64, not '2x'"},
	    {RUN_OPT_CPUS, "", "--cpus takes a number from 1 to 64, not ''"},
	    {RUN_OPT_MEMORY, "lots", "--memory takes a size such as 128M, not 'lots'"},
	    {RUN_OPT_HW, "acpi", "--hw takes fdt, mptable or auto, not 'acpi'"},
	    {RUN_OPT_CONSOLE, "file=", "--console takes stdio, none or file=PATH, not 'file='"},
	    {RUN_OPT_CONSOLE, "tty", "--console takes stdio, none or file=PATH, not 'tty'"},
	    {RUN_OPT_REPORT, "xml", "--boot-report takes json or nothing, not 'xml'"},
	    {RUN_OPT_DISK, ",ro",
	     "--disk takes FILE[,ro][,direct][,spare][,serial=WORD], not ',ro'"},
	    {RUN_OPT_DISK, "a,rw",
	     "--disk takes FILE[,ro][,direct][,spare][,serial=WORD], not 'a,rw'"},
	    {RUN_OPT_DISK, "a,ro,ro",
	     "--disk takes FILE[,ro][,direct][,spare][,serial=WORD], not 'a,ro,ro'"},
	    {RUN_OPT_SHARE, "/srv", "--share takes DIR,tag=TAG[,ro], not '/srv'"},
	    {RUN_OPT_SHARE, "/srv,tag=", "--share takes DIR,tag=TAG[,ro], not '/srv,tag='"},
	    {RUN_OPT_SHARE, "/srv,tag=a,tag=b",
	     "--share takes DIR,tag=TAG[,ro], not '/srv,tag=a,tag=b'"},
	    {RUN_OPT_PMEM, "p,rot", "--pmem takes FILE[,ro][,root[=pN]], not 'p,rot'"},
	    {RUN_OPT_PMEM, "", "--pmem takes FILE[,ro][,root[=pN]], not ''"},
	    {RUN_OPT_NET, "t0", NET_TAKES ", not 't0'"},
	    {RUN_OPT_NET, "tap=t,mac=1", NET_TAKES ", not 'tap=t,mac=1'"},
	    {RUN_OPT_NET, "tap=t,mtu=70000", NET_TAKES ", not 'tap=t,mtu=70000'"},
	    {RUN_OPT_NET, "tap=t,queues=9", NET_TAKES ", not 'tap=t,queues=9'"},
	    {RUN_OPT_NET, "tap=t,queues=0", NET_TAKES ", not 'tap=t,queues=0'"},
	    {RUN_OPT_NET, "passt,queues=2", NET_TAKES ", not 'passt,queues=2'"},
	    {RUN_OPT_NET, "passt=", NET_TAKES ", not 'passt='"},
	    {RUN_OPT_NET, "tap=t,passt", NET_TAKES ", not 'tap=t,passt'"},
	    {RUN_OPT_NET, "tap=t,mtu=1", NET_TAKES ", not 'tap=t,mtu=1'"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		begin();
		cr_assert_eq(set(cases[i].opt, cases[i].arg), -EINVAL, "%s", cases[i].want);
		cr_assert_str_eq(e.msg, cases[i].want);
		cr_assert_eq(cfg.disk_cnt + cfg.share_cnt + cfg.pmem_cnt + cfg.net_cnt, 0);
	}
}

Test(run_args, lists_end)
{
	static char words[RUN_DEVS_MAX + 1][4];

	begin();
	for (unsigned i = 0; i <= RUN_DEVS_MAX; i++) {
		int rc;

		(void)snprintf(words[i], sizeof(words[i]), "d%u", i % 64);
		rc = run_set(&cfg, RUN_OPT_DISK, words[i], &e);
		cr_assert_eq(rc, i < RUN_DEVS_MAX ? 0 : -ENOSPC);
	}
	cr_assert_str_eq(e.msg, "--disk: more than 22");
	cr_assert_eq(cfg.disk_cnt, RUN_DEVS_MAX);
}

Test(run_args, what_does_not_go_together)
{
	begin();
	cr_assert_lt(run_check(&cfg, &e), 0);
	cr_assert_str_eq(e.msg, "no kernel given; see 'vmm run --help'");
	cr_assert_eq(config("{\"kernel\":\"k\",\"pmem\":[{\"file\":\"a\",\"root\":true},{\"file\":"
			    "\"b\",\"root\":true}]}"),
		     0);
	cr_assert_lt(run_check(&cfg, &e), 0);
	cr_assert_str_eq(e.msg, "--pmem: there can be one root, not 2");
	cr_assert_eq(config("{\"kernel\":\"k\",\"share\":[{\"dir\":\"/"
			    "a\",\"tag\":\"t\"},{\"dir\":\"/b\",\"tag\":\"t\"}]}"),
		     0);
	cr_assert_lt(run_check(&cfg, &e), 0);
	cr_assert_str_eq(e.msg, "--share '/b': the tag 't' is used twice");
	cr_assert_eq(config("{\"kernel\":\"k\",\"share\":[{\"dir\":\"/"
			    "a\",\"tag\":\"1234567890123456789012345678901234567\"}]}"),
		     0);
	cr_assert_lt(run_check(&cfg, &e), 0);
	cr_assert_str_eq(e.msg, "--share '/a': the tag '1234567890123456789012345678901234567' is "
				"longer than 36 bytes");
	begin();
}

Test(run_args, a_file_with_everything)
{
	cr_assert_eq(config("{\"kernel\":\"k\",\"initrd\":\"i\",\"append\":\"a "
			    "b\",\"cpus\":3,\"memory\":\"64M\",\"hw\":"
			    "\"mptable\",\"disk\":[{\"file\":\"d\",\"ro\":true},{\"file\":\"e\"}],"
			    "\"share\":[{\"dir\":\"/s\","
			    "\"tag\":\"t\"}],\"pmem\":[{\"file\":\"p\",\"ro\":true,\"root\":true}],"
			    "\"net\":[{\"tap\":\"n\","
			    "\"mac\":\"02:00:00:00:00:09\"}],\"console\":\"none\",\"serial\":true,"
			    "\"boot-report\":true,"
			    "\"name\":\"x\"}"),
		     0, "%s", e.msg);
	cr_assert_str_eq(cfg.kernel, "k");
	cr_assert_str_eq(cfg.initrd, "i");
	cr_assert_str_eq(cfg.append, "a b");
	cr_assert_str_eq(cfg.name, "x");
	cr_assert_eq(cfg.cpus, 3);
	cr_assert_eq(cfg.memory, 64ull << 20);
	cr_assert_eq(cfg.hw, MACHINE_HW_MPTABLE);
	cr_assert_eq(cfg.console, RUN_CONSOLE_NONE);
	cr_assert_eq(cfg.report, RUN_REPORT_TEXT);
	cr_assert(cfg.serial);
	cr_assert_eq(cfg.disk_cnt, 2);
	cr_assert(cfg.disk[0].readonly && !cfg.disk[1].readonly);
	cr_assert_str_eq(cfg.disk[1].path, "e");
	cr_assert_str_eq(cfg.share[0].tag, "t");
	cr_assert(cfg.pmem[0].root);
	cr_assert_eq(cfg.net[0].mac[5], 9);
	cr_assert_eq(run_check(&cfg, &e), 0);
	/* The command line, which comes later, wins. */
	cr_assert_eq(set(RUN_OPT_CPUS, "2"), 0);
	cr_assert_eq(cfg.cpus, 2);
	cr_assert_lt(run_parse_config(&cfg, "{}", 2, &e), 0);
	cr_assert_str_eq(e.msg, "there can be only one");
	begin();
}

Test(run_args, each_wrong_file_has_its_sentence)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
	    {"", "not JSON: it ends too early"},
	    {"{\"kernel\":\"k\"", "not JSON: it ends too early"},
	    {"[]", "expected an object, got an array"},
	    {"3", "expected an object, got a whole number"},
	    {"{\"kernel\":3}", "kernel: expected a string, got a whole number"},
	    {"{\"kernel\":null}", "kernel: expected a string, got null"},
	    {"{\"kernel\":\"a\\u0000b\"}", "kernel: a NUL character in the string"},
	    {"{\"cpus\":\"2\"}", "cpus: expected a whole number, got a string"},
	    {"{\"cpus\":1.5}", "cpus: expected a whole number, got a number"},
	    {"{\"cpus\":0}", "--cpus takes a number from 1 to 64, not '0'"},
	    {"{\"memory\":128}", "memory: expected a string, got a whole number"},
	    {"{\"serial\":\"yes\"}", "serial: expected true or false, got a string"},
	    {"{\"boot-report\":\"xml\"}", "--boot-report takes json or nothing, not 'xml'"},
	    {"{\"disks\":[]}", "unknown key 'disks'"},
	    {"{\"disk\":{}}", "disk: expected an array, got an object"},
	    {"{\"disk\":[\"a\"]}", "disk[0]: expected an object, got a string"},
	    {"{\"disk\":[{\"file\":\"a\"},{\"ro\":true}]}", "disk[1]: 'file' is missing"},
	    {"{\"disk\":[{\"file\":\"\"}]}", "disk[0]: 'file' is missing"},
	    {"{\"disk\":[{\"file\":\"a\",\"ro\":1}]}",
	     "disk[0].ro: expected true or false, got a whole number"},
	    {"{\"disk\":[{\"path\":\"a\"}]}", "disk[0]: unknown key 'path'"},
	    {"{\"disk\":[{\"file\":\"a\\u0000\"}]}", "disk[0].file: a NUL character in the string"},
	    {"{\"share\":[{\"dir\":\"/a\"}]}", "share[0]: 'tag' is missing"},
	    {"{\"net\":[{\"tap\":\"t\",\"mac\":\"01:00:00:00:00:00\"}]}",
	     "net[0].mac: '01:00:00:00:00:00' is not a unicast MAC address"},
	    {"{\"pmem\":[{\"file\":\"p\",\"root\":\"1\"}]}", "pmem[0].root: '1' is not p1 to p128"},
	    {"{\"net\":[{}]}", "net[0]: it takes either 'tap' or 'passt'"},
	    {"{\"net\":[{\"tap\":\"t\",\"passt\":true}]}",
	     "net[0]: it takes either 'tap' or 'passt'"},
	    {"{\"net\":[{\"passt\":true,\"queues\":2}]}", "net[0]: passt has one queue"},
	    {"{\"net\":[{\"tap\":\"t\",\"queues\":9}]}", "net[0].queues: 9 is not from 1 to 8"},
	    {"{\"net\":[{\"tap\":\"t\",\"mtu\":67}]}", "net[0].mtu: 67 is not from 68 to 65535"},
	    {"{\"net\":[{\"tap\":\"t\",\"mtu\":\"9\"}]}",
	     "net[0].mtu: expected a whole number, got a string"},
	    {"{\"net\":[{\"passt\":1}]}", "net[0].passt: expected a string, got a whole number"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cr_assert_lt(config(cases[i].text), 0, "%s", cases[i].text);
		cr_assert_str_eq(e.msg, cases[i].want);
	}
	cr_assert_lt(config("{\"kernel\" \"k\"}"), 0);
	cr_assert_eq(strncmp(e.msg, "not JSON: ", 10), 0);
	cr_assert(strstr(e.msg, "at byte 10"), "%s", e.msg);
	cr_assert_lt(config("{} x"), 0);
	begin();
}

Test(run_args, a_list_of_a_file_ends)
{
	char text[2048] = "{\"pmem\":[";

	for (unsigned i = 0; i <= RUN_DEVS_MAX; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
			       "%s{\"file\":\"p\"}", i ? "," : "");
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "]}");
	cr_assert_eq(config(text), -ENOSPC);
	cr_assert_str_eq(e.msg, "pmem: more than 22");
	begin();
}

Test(run_args, the_file_is_named)
{
	char path[] = "/tmp/test_run_args.XXXXXX", want[128];
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "[]", 2), 2);
	begin();
	cr_assert_lt(run_read_config(&cfg, path, &e), 0);
	(void)snprintf(want, sizeof(want), "config '%s': expected an object, got an array", path);
	cr_assert_str_eq(e.msg, want);
	(void)unlink(path);
	(void)close(fd);
	begin();
	cr_assert_eq(run_read_config(&cfg, path, &e), -ENOENT);
	(void)snprintf(want, sizeof(want), "config '%s': No such file or directory", path);
	cr_assert_str_eq(e.msg, want);
}
