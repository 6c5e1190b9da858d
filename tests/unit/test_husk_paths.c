/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths in a hostile root, state directories, ids, signal names, option tables.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/inroot.h"
#include "runtime/opts.h"
#include "runtime/signame.h"
#include "runtime/state.h"

static char top[] = "/tmp/husk-paths-XXXXXX"; /* has outside/ and root/ */
static int root = -1;

static void setup(void)
{
	int t;

	cr_assert(mkdtemp(top) != NULL);
	t = open(top, O_PATH | O_DIRECTORY);
	cr_assert(t >= 0);
	(void)umask(022);
	cr_assert(mkdirat(t, "outside", 0755) == 0 && mkdirat(t, "root", 0755) == 0);
	root = openat(t, "root", O_RDONLY | O_DIRECTORY);
	cr_assert(root >= 0);
	cr_assert(mkdirat(root, "bin", 0755) == 0);
	(void)close(t);
}

static void teardown(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	cr_expect(system(cmd) == 0);
}

TestSuite(paths, .init = setup, .fini = teardown);

static void put(const char *name, mode_t mode)
{
	auto_fd fd = openat(root, name, O_CREAT | O_WRONLY, mode);

	cr_assert(fd >= 0 && fchmod(fd, mode) == 0);
}

static bool exists(const char *below_top)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", top, below_top);
	return lstat(path, &st) == 0;
}

Test(paths, target_is_made_inside)
{
	int fd = -1;

	cr_assert(eq(int, inroot_target(root, "/a/b/c", true, &fd), 0));
	(void)close(fd);
	cr_expect(exists("root/a/b/c"));
	cr_assert(eq(int, inroot_target(root, "a//b/file", false, &fd), 0));
	(void)close(fd);
	cr_expect(exists("root/a/b/file"));
	cr_expect(eq(int, inroot_target(root, "/a/b/file/x", false, &fd), -ENOTDIR));
}

Test(paths, symlinks_end_at_the_root)
{
	char abs[PATH_MAX];
	int fd = -1;

	(void)snprintf(abs, sizeof(abs), "%s/outside", top);
	cr_assert(symlinkat(abs, root, "out") == 0);
	cr_assert(symlinkat("../../../../../..", root, "up") == 0);
	cr_assert(symlinkat("/bin", root, "in") == 0);
	/* It dangles inside of the root: refused, and nothing is made where it points on the host.
	 */
	cr_expect(lt(int, inroot_target(root, "/out/x", true, &fd), 0));
	cr_expect(not(exists("outside/x")));
	cr_assert(eq(int, inroot_target(root, "/up/y", true, &fd), 0));
	(void)close(fd);
	cr_expect(exists("root/y"));
	cr_assert(eq(int, inroot_target(root, "/../../z", true, &fd), 0));
	(void)close(fd);
	cr_expect(exists("root/z"));
	cr_assert(eq(int, inroot_target(root, "/in/w", false, &fd), 0));
	(void)close(fd);
	cr_expect(exists("root/bin/w"));
}

static void find(const char *arg0, const char *path, int want, const char *text)
{
	struct err e = {0};
	int rc = inroot_find_exec(root, arg0, path, "/", &e);

	cr_expect(eq(int, rc, want), "%s: %s", arg0, e.msg);
	if (text)
		cr_expect_str_eq(e.msg, text);
}

Test(paths, entry_point)
{
	put("bin/yes", 0755);
	put("bin/no", 0644);
	cr_assert(mkdirat(root, "bin/dir", 0755) == 0);
	cr_assert(symlinkat("/bin/yes", root, "link") == 0);
	cr_assert(symlinkat("/proc/self/exe", root, "magic") == 0);
	find("yes", "/usr/bin:/bin", 0, NULL);
	find("/bin/yes", "", 0, NULL);
	find("bin/yes", "", 0, NULL);
	find("/link", "", 0, NULL);
	find("nope", "/usr/bin:/bin", -ENOENT,
	     "exec: \"nope\": executable file not found in $PATH");
	find("", "/bin", -ENOENT, "exec: \"\": executable file not found in $PATH");
	find("no", "/usr/bin:/bin", -EACCES, "exec: \"no\": permission denied");
	find("/bin/no", "", -EACCES, "exec: \"/bin/no\": permission denied");
	find("/bin/dir", "", -EACCES, "exec: \"/bin/dir\": permission denied");
	find("/bin/sh", "", -ENOENT, "exec: \"/bin/sh\": stat /bin/sh: no such file or directory");
	/* There on the host, not here. */
	find("/magic", "", -ENOENT, NULL);
	find("/usr/bin/env", "", -ENOENT, NULL);
}

/* ---- state ----------------------------------------------------------------------------------- */

Test(ids, characters)
{
	static const char *const good[] = {"a", "A-b_c+d.e.f", "-a", "0", "a..."};
	static const char *const bad[] = {"",	      ".",   "..",  "a/b", "a b", "a\n",
					  "\xc3\xa4", "a\\", "a:b", "a,b", "..a", ".a"};
	char lengthy[300];
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		cr_expect(eq(int, state_check_id(good[i], NULL), 0), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		e = (struct err){0};
		cr_expect(eq(int, state_check_id(bad[i], &e), -EINVAL), "%s", bad[i]);
	}
	memset(lengthy, 'a', sizeof(lengthy) - 1);
	lengthy[sizeof(lengthy) - 1] = '\0';
	cr_expect(eq(int, state_check_id(lengthy, NULL), -ENAMETOOLONG));
}

Test(paths, state_round_trip)
{
	struct state s = {.id = strdup("c"),
			  .bundle = strdup("/b"),
			  .rootfs = strdup("/b/rootfs"),
			  .version = strdup("1.1.0"),
			  .status = STATE_RUNNING,
			  .pid = getpid(),
			  .start_time = state_start_time(getpid()),
			  .exit_status = -1,
			  .cgroup = json_tokener_parse("{\"version\":2}"),
			  .size = {.memory = 1 << 28, .memory_max = UINT64_C(1) << 40, .cpus = 3}};
	struct state got;
	struct err e = {0};
	char where[PATH_MAX];
	int dir = -1, again = -1, rootdir;

	(void)snprintf(where, sizeof(where), "%s/deep/state", top);
	clock_rfc3339(s.created, sizeof(s.created), 9);
	cr_assert(eq(int, state_make_dir(where, "c", &dir, &e), 0), "%s", e.msg);
	cr_expect(eq(int, state_make_dir(where, "c", &again, &e), -EEXIST));
	cr_expect(strstr(e.msg, "container with given ID already exists") != NULL);
	e = (struct err){0};
	cr_expect(eq(int, state_load(dir, &got, &e), -ENOENT));
	cr_expect(eq(int, e.code, 0));
	cr_assert(eq(int, state_save(dir, &s), 0));
	cr_assert(eq(int, state_load(dir, &got, &e), 0), "%s", e.msg);
	cr_expect(eq(int, got.status, STATE_RUNNING));
	cr_expect_str_eq(json_object_to_json_string(got.cgroup),
			 json_object_to_json_string(s.cgroup));
	cr_expect(eq(u64, got.size.memory, s.size.memory));
	cr_expect(eq(u64, got.size.memory_max, s.size.memory_max));
	cr_expect(eq(u32, got.size.cpus, 3));
	cr_expect_str_eq(got.created, s.created);
	cr_expect(state_alive(&got));
	state_free(&got);
	/* The same pid with another start time is somebody else. */
	s.start_time++;
	cr_assert(eq(int, state_save(dir, &s), 0));
	cr_assert(eq(int, state_load(dir, &got, &e), 0));
	cr_expect(eq(int, got.status, STATE_STOPPED));
	state_free(&got);
	cr_expect(eq(int, state_open_dir(where, "d", &again, &e), -ENOENT));
	cr_expect(strstr(e.msg, "does not exist") != NULL);
	rootdir = open(where, O_RDONLY | O_DIRECTORY);
	cr_expect(eq(int, state_remove_dir(rootdir, "c"), 0));
	cr_expect(not(exists("deep/state/c")));
	e = (struct err){0};
	cr_expect(eq(int, state_lock(dir, "c", &e), -ENOENT)); /* removed while we waited */
	(void)close(rootdir);
	(void)close(dir);
	state_free(&s);
}

Test(paths, state_wrong_types)
{
	static const char *const bad[] = {"{", "{\"id\":1}", "[]", "{}"};
	struct state got;
	int dir = -1;

	cr_assert(eq(int, state_make_dir(top, "c", &dir, NULL), 0));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};

		cr_assert(eq(int, fd_write_file(dir, STATE_FILE, bad[i], strlen(bad[i]), 0600), 0));
		cr_expect(eq(int, state_load(dir, &got, &e), -EINVAL));
		cr_expect(e.msg[0] != '\0');
	}
}

Test(state, zombies_are_dead)
{
	pid_t pid = fork();
	siginfo_t si;

	if (pid == 0)
		_exit(0);
	cr_assert(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
	cr_expect(eq(u64, state_start_time(pid), 0));
	(void)waitpid(pid, NULL, 0);
	cr_expect(eq(u64, state_start_time(pid), 0));
	cr_expect(ne(u64, state_start_time(getpid()), 0));
}

Test(state, json_of_a_stopped_one_has_no_pid)
{
	char id[] = "c", b[] = "/b", v[] = "1.1.0";
	struct state s = {.id = id, .bundle = b, .rootfs = b, .version = v, .pid = 77};
	auto_json user = state_to_json(&s, STATE_STOPPED, true, "root");
	auto_json hook = state_to_json(&s, STATE_STOPPED, false, NULL);

	cr_expect(eq(i64, json_i64(user, "pid", -1), 0));
	cr_expect(eq(i64, json_i64(hook, "pid", -1), 77));
	cr_expect_str_eq(json_str(user, "status", ""), "stopped");
	cr_expect(json_at(hook, "owner") == NULL);
}

/* ---- words ----------------------------------------------------------------------------------- */

Test(signals, names)
{
	static const struct {
		const char *text;
		int want;
	} t[] = {
	    {"9", 9},	       {"KILL", 9},	 {"SIGKILL", 9},     {"term", 15},
	    {"SIGUSR1", 10},   {"RTMIN", 34},	 {"SIGRTMIN+3", 37}, {"RTMAX", 64},
	    {"RTMAX-1", 63},   {"WINCH", 28},	 {"IO", 29},	     {"CLD", 17},
	    {"64", 64},	       {"65", -EINVAL},	 {"0", -EINVAL},     {"-1", -EINVAL},
	    {"", -EINVAL},     {"SIG", -EINVAL}, {"9x", -EINVAL},    {"RTMIN+31", -EINVAL},
	    {"NONE", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		cr_expect(eq(int, signal_parse(t[i].text), t[i].want), "%s", t[i].text);
}

struct options {
	bool flag, other;
	const char *value, *maybe;
};
static const struct opt table[] = {
    {"flag", 'f', OPT_FLAG, offsetof(struct options, flag), NULL, "a flag"},
    {"other", 0, OPT_FLAG, offsetof(struct options, other), NULL, "another"},
    {"value", 'v', OPT_VALUE, offsetof(struct options, value), "V", "a value"},
    {"maybe", 0, OPT_MAYBE, offsetof(struct options, maybe), "M", "a value or none"},
    {0},
};

static int parse(struct options *o, bool stop, char **words, int n, const char *const *argv)
{
	char *copy[10] = {NULL};
	struct err e = {0};

	*o = (struct options){0};
	for (int i = 0; i < n; i++)
		copy[i + 1] = (char *)(uintptr_t)argv[i];
	return opts_parse(n + 1, copy, table, o, stop, words, &e);
}
#define PARSE(stop, ...)                                                                           \
	parse(&o, stop, words, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),        \
	      (const char *const[]){__VA_ARGS__})

Test(options, forms)
{
	struct options o;
	char *words[10];

	cr_expect(eq(int, PARSE(false, "a", "--flag", "b", "--value=x"), 2));
	cr_expect(o.flag && !strcmp(o.value, "x") && !strcmp(words[1], "b"));
	cr_expect(eq(int, PARSE(false, "-f", "-v", "x", "-", "--", "--flag"), 2));
	cr_expect(o.flag && !strcmp(o.value, "x") && !strcmp(words[0], "-") &&
		  !strcmp(words[1], "--flag"));
	cr_expect(eq(int, PARSE(true, "--flag", "verb", "--value", "x"), 3));
	cr_expect(o.flag && !o.value);
	cr_expect(eq(int, PARSE(false, "--maybe", "a", "-vx"), 1));
	cr_expect_str_eq(o.maybe, "");
	cr_expect_str_eq(o.value, "x");
	cr_expect(eq(int, PARSE(false, "--maybe=j", "-value", "y"), 0));
	cr_expect_str_eq(o.maybe, "j");
	cr_expect_str_eq(o.value, "y");
	cr_expect(eq(int, PARSE(false, "--flag=false"), 0));
	cr_expect(not(o.flag));
	cr_expect(eq(int, PARSE(false, "--flag=maybe"), -EINVAL));
	cr_expect(eq(int, PARSE(false, "--value"), -EINVAL));
	cr_expect(eq(int, PARSE(false, "--valu", "x"), -EINVAL));
	cr_expect(eq(int, PARSE(false, "-fx"), -EINVAL));
}
