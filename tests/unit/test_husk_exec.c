/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of an exec, from a document and from the command line; options that may come again;
 * the stand-in's side of the conversation with the sandbox process, on a socket pair.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sigfd.h"
#include "mux/proxy.h"
#include "runtime/console.h"
#include "runtime/exec_spec.h"
#include "runtime/standin.h"

static const char config[] =
    "{\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":9,\"width\":9},\"cwd\":\"/w\","
    "\"args\":[\"sh\"],\"env\":[\"A=1\"],\"user\":{\"uid\":5,\"gid\":6,\"additionalGids\":[7]},"
    "\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"ambient\":[\"CAP_KILL\"]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":2}],\"oomScoreAdj\":3}}";

static struct json_object *spec_of(const char *text)
{
	struct json_object *o = NULL;
	struct err e = {0};

	cr_assert_eq(json_parse(text, strlen(text), "config.json", &o, &e), 0, "%s", e.msg);
	return o;
}

static const char *plain(struct json_object *o, const char *path)
{
	struct json_object *at = json_at(o, path);

	return at ? json_object_to_json_string_ext(at, JSON_C_TO_STRING_PLAIN) : "none";
}

static char *words[] = {(char *)(uintptr_t) "ls", (char *)(uintptr_t) "-l", NULL};

static struct json_object *from_flags(struct exec_flags f)
{
	auto_json spec = spec_of(config);
	struct json_object *p = NULL;
	struct err e = {0};

	f.args = words;
	f.arg_cnt = 2;
	cr_assert_eq(exec_spec_from_flags(spec, &f, &p, &e), 0, "%s", e.msg);
	cr_expect_str_eq(plain(spec, "process.args"), "[\"sh\"]", "the container's own changed");
	return p;
}

Test(exec_spec, takes_the_containers_own)
{
	auto_json p = from_flags((struct exec_flags){.tty = false});

	cr_expect_str_eq(plain(p, "args"), "[\"ls\",\"-l\"]");
	cr_expect_str_eq(plain(p, "terminal"), "false");
	cr_expect_str_eq(plain(p, "consoleSize"), "none");
	cr_expect_str_eq(plain(p, "cwd"), "\"\\/w\"");
	cr_expect_str_eq(plain(p, "env"), "[\"A=1\"]");
	cr_expect_str_eq(plain(p, "user"), "{\"uid\":5,\"gid\":6,\"additionalGids\":[7]}");
	cr_expect_str_eq(plain(p, "oomScoreAdj"), "3");
	cr_expect_str_eq(plain(p, "noNewPrivileges"), "none");
}

Test(exec_spec, flags_change_it)
{
	const char *env[] = {"B=2", "C"}, *caps[] = {"CAP_CHOWN"}, *gids[] = {"8", "9"};
	auto_json p = from_flags((struct exec_flags){.cwd = "/x",
						     .user = "1000:1001",
						     .env = {env, 2},
						     .caps = {caps, 1},
						     .gids = {gids, 2},
						     .tty = true,
						     .no_new_privs = true});

	cr_expect_str_eq(plain(p, "terminal"), "true");
	cr_expect_str_eq(plain(p, "cwd"), "\"\\/x\"");
	cr_expect_str_eq(plain(p, "env"), "[\"A=1\",\"B=2\",\"C\"]");
	cr_expect_str_eq(plain(p, "user"),
			 "{\"uid\":1000,\"gid\":1001,\"additionalGids\":[7,8,9]}");
	cr_expect_str_eq(plain(p, "capabilities.bounding"), "[\"CAP_KILL\",\"CAP_CHOWN\"]");
	cr_expect_str_eq(plain(p, "capabilities.effective"), "[\"CAP_CHOWN\"]");
	cr_expect_str_eq(plain(p, "capabilities.ambient"), "[\"CAP_KILL\"]");
	cr_expect_str_eq(plain(p, "noNewPrivileges"), "true");
}

Test(exec_spec, user_alone_keeps_the_group)
{
	auto_json p = from_flags((struct exec_flags){.user = "0"});

	cr_expect_str_eq(plain(p, "user"), "{\"uid\":0,\"gid\":6,\"additionalGids\":[7]}");
}

static void expect_refused(struct exec_flags f, const char *words_of)
{
	auto_json spec = spec_of(config);
	struct json_object *p = NULL;
	struct err e = {0};

	if (!f.args) {
		f.args = words;
		f.arg_cnt = 2;
	}
	cr_expect_eq(exec_spec_from_flags(spec, &f, &p, &e), -EINVAL);
	cr_expect(strstr(e.msg, words_of), "'%s' is not '%s'", e.msg, words_of);
	cr_expect_null(p);
}

Test(exec_spec, bad_flags)
{
	static const char *const users[] = {
	    "root", "", ":", "1:", ":1", "1:x", "-1", "1 ", "4294967295", "99999999999", "1:2:3"};
	const char *gids[] = {"-3"};

	for (size_t i = 0; i < ARRAY_LEN(users); i++)
		expect_refused((struct exec_flags){.user = users[i]}, "option --user");
	expect_refused((struct exec_flags){.gids = {gids, 1}}, "option --additional-gids");
	expect_refused((struct exec_flags){.cwd = "here"}, "cwd 'here' must be an absolute path");
	expect_refused((struct exec_flags){.args = words, .arg_cnt = 0}, "args must not be empty");
}

static int from_text(const char *text, struct json_object **ret, struct err *e)
{
	auto_json spec = spec_of(config);

	return exec_spec_from_text(spec, text, strlen(text), ret, e);
}

Test(exec_spec, document)
{
	auto_json p = NULL;
	struct err e = {0};

	cr_assert_eq(from_text("{\"args\":[\"a\"],\"cwd\":\"/\",\"oomScoreAdj\":9}", &p, &e), 0,
		     "%s", e.msg);
	cr_expect_str_eq(plain(p, "oomScoreAdj"), "9");
	cr_expect_str_eq(plain(p, "rlimits.[0]"), "none");
	cr_expect_eq(json_len(p, "rlimits"), 1, "the container's limits are the process's");
	cr_expect_str_eq(plain(p, "env"), "none", "the environment is the document's alone");
	cr_expect_str_eq(plain(p, "user"), "none");
}

Test(exec_spec, bad_documents)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
	    {"", "process"},
	    {"[]", "process"},
	    {"{\"cwd\":\"/\"}", "args"},
	    {"{\"args\":[],\"cwd\":\"/\"}", "args must not be empty"},
	    {"{\"args\":[\"a\"]}", "cwd"},
	    {"{\"args\":[\"a\"],\"cwd\":\"\"}", "absolute"},
	    {"{\"args\":\"a\",\"cwd\":\"/\"}", "args"},
	    {"{\"args\":[\"a\"],\"cwd\":\"/\",\"terminal\":1}", "terminal"},
	    {"{\"args\":[\"a\"],\"cwd\":\"/\",\"user\":{\"uid\":-1}}", "uid"},
	    {"{\"args\":[\"a\"],\"cwd\":\"/\",\"apparmorProfile\":\"mine\"}", "'mine' cannot be"},
	    {"{\"args\":[\"a\"],\"cwd\":\"/\",\"consoleSize\":{\"height\":\"x\"}}", "height"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct json_object *p = NULL;
		struct err e = {0};

		cr_expect_lt(from_text(bad[i].text, &p, &e), 0, "%s was taken", bad[i].text);
		cr_expect(strstr(e.msg, bad[i].why), "'%s': '%s' is not said", e.msg, bad[i].why);
	}
}

Test(exec_opts, values_that_come_again)
{
	struct {
		struct opt_values env;
		const char *user;
	} o = {.user = NULL};
	const struct opt opts[] = {{"env", 'e', OPT_EACH, 0, "E", NULL},
				   {"user", 'u', OPT_VALUE, sizeof(o.env), "U", NULL},
				   {0}};
	static const char *const line[] = {"x",	 "-e", "A=1", "--env=B", "-eC",
					   "-u", "7",  "id",  "-e",	 "--"};
	char *argv[ARRAY_LEN(line)], *rest[ARRAY_LEN(line)];
	struct err e = {0};

	for (size_t i = 0; i < ARRAY_LEN(line); i++)
		argv[i] = (char *)(uintptr_t)line[i];
	cr_assert_eq(opts_parse((int)ARRAY_LEN(line), argv, opts, &o, true, rest, &e), 3, "%s",
		     e.msg);
	cr_expect_eq(o.env.cnt, 3);
	cr_expect_str_eq(o.env.v[0], "A=1");
	cr_expect_str_eq(o.env.v[1], "B");
	cr_expect_str_eq(o.env.v[2], "C");
	cr_expect_str_eq(o.user, "7");
	cr_expect_str_eq(rest[1], "-e");
	cr_expect_str_eq(rest[2], "--");
	free(o.env.v);
	argv[1] = (char *)(uintptr_t) "-e";
	cr_expect_eq(opts_parse(2, argv, opts, &o, true, rest, &e), -EINVAL);
	cr_expect(strstr(e.msg, "flag needs an argument"));
}

Test(exec_opts, help_names_the_values)
{
	static const struct opt opts[] = {{"env", 'e', OPT_EACH, 0, "E", "x"},
					  {"user", 0, OPT_VALUE, 0, "U", "x"},
					  {"tty", 0, OPT_FLAG, 0, NULL, "x"},
					  {"maybe", 0, OPT_MAYBE, 0, "M", "x"},
					  {0}};
	static const char *const lines[] = {"-e, --env E ", "--user U ", "--tty  ", "--maybe[=M] "};
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	cr_assert_not_null(f);
	opts_help(f, opts);
	(void)fclose(f);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		cr_expect(strstr(text, lines[i]), "no '%s' in:\n%s", lines[i], text);
	free(text);
}

Test(exec_console, when_there_may_be_a_console_socket)
{
	struct err e = {0};

	cr_expect_eq(console_check(true, true, "s", &e), 0);
	cr_expect_eq(console_check(true, false, NULL, &e), 0);
	cr_expect_eq(console_check(false, true, NULL, &e), 0);
	cr_expect_eq(console_check(false, false, NULL, &e), 0);
	cr_expect_eq(console_check(true, true, NULL, &e), -EINVAL);
	cr_expect(strstr(e.msg, "cannot allocate tty"));
	for (int i = 0; i < 3; i++) {
		struct err f = {0};

		cr_expect_eq(console_check(i == 0, i == 1, "s", &f), -EINVAL);
		cr_expect(strstr(f.msg, "cannot use console socket"));
	}
}

/* ---- the stand-in ---------------------------------------------------------------------------- */

static const struct cgroup none;

static int frame(uint8_t *at, uint8_t type, uint8_t opcode, const void *payload, size_t len)
{
	proxy_put_header(at, type, opcode, false, (uint32_t)len);
	memcpy(at + PROXY_HEADER_LEN, payload, len);
	return (int)(PROXY_HEADER_LEN + len);
}

/* What the other side of the connection hears: one frame's JSON. */
static void expect_said(int sock, const char *json)
{
	uint8_t head[PROXY_HEADER_LEN];
	struct proxy_header h;
	char text[128] = "";

	cr_assert_eq(fd_read_full(sock, head, sizeof(head)), (ssize_t)sizeof(head));
	cr_assert_eq(proxy_get_header(head, sizeof(head), &h), 1);
	cr_assert(h.type == PROXY_COMMAND && h.opcode == PROXY_HUSK);
	cr_assert_lt(h.payload_len, sizeof(text));
	cr_assert_eq(fd_read_full(sock, text, h.payload_len), (ssize_t)h.payload_len);
	cr_expect_str_eq(text, json);
}

/* Without confinement, in a child: the status that it exits with. */
static pid_t waiter(int *ret_sock)
{
	int pair[2];
	pid_t pid;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		struct err e = {0};
		int sig = sigfd_open(NULL, 0, &e);

		(void)close(pair[0]);
		(void)kill(getpid(), SIGUSR1); /* tells the test that signals may come */
		_exit(standin_wait(pair[1], sig, -1));
	}
	(void)close(pair[1]);
	*ret_sock = pair[0];
	expect_said(pair[0], "{\"op\":\"signal\",\"signal\":10}");
	return pid;
}

static int status_of(pid_t pid)
{
	int st;

	cr_assert_eq(waitpid(pid, &st, 0), pid);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

Test(exec_standin, ends_with_the_status_it_is_told, .timeout = 30)
{
	uint8_t buf[256];
	int sock, n;
	pid_t pid = waiter(&sock);
	uint8_t status = 42;

	/* Answers to its signals come first; all in single bytes. */
	n = frame(buf, PROXY_RESPONSE, PROXY_HUSK, "{}", 2);
	n += frame(buf + n, PROXY_RESPONSE, PROXY_HUSK, "", 0);
	n += frame(buf + n, PROXY_NOTIFY, PROXY_EXITED, &status, 1);
	for (int i = 0; i < n; i++)
		cr_assert_eq(send(sock, buf + i, 1, MSG_NOSIGNAL), 1);
	cr_expect_eq(status_of(pid), 42);
	(void)close(sock);
}

Test(exec_standin, passes_signals_on, .timeout = 30)
{
	static const int sigs[] = {SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCHLD, SIGWINCH};
	uint8_t buf[64], status = 0;
	int sock;
	pid_t pid = waiter(&sock);

	for (size_t i = 0; i < ARRAY_LEN(sigs); i++) {
		char want[64];

		(void)snprintf(want, sizeof(want), "{\"op\":\"signal\",\"signal\":%d}", sigs[i]);
		cr_assert_eq(kill(pid, sigs[i]), 0);
		expect_said(sock, want);
	}
	cr_assert(send(sock, buf, (size_t)frame(buf, PROXY_NOTIFY, PROXY_EXITED, &status, 1),
		       MSG_NOSIGNAL) > 0);
	cr_expect_eq(status_of(pid), 0);
	(void)close(sock);
}

Test(exec_standin, a_sandbox_that_goes_or_talks_rubbish, .timeout = 30)
{
	int sock;
	pid_t pid = waiter(&sock);

	(void)close(sock);
	cr_expect_eq(status_of(pid), STANDIN_LOST);
	pid = waiter(&sock);
	cr_assert_eq(send(sock, "0123456789abcdef", 16, MSG_NOSIGNAL), 16);
	cr_expect_eq(status_of(pid), STANDIN_LOST);
	(void)close(sock);
}

Test(exec_standin, forked_it_waits_for_the_commit_and_keeps_nothing, .timeout = 30)
{
	int conn[2], pipefd[2];
	uint8_t buf[64], status = 9;
	struct standin s;
	struct err e = {0};
	pid_t pid;
	char c;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, conn), 0);
	cr_assert_eq(pipe(pipefd), 0);
	cr_assert_eq(standin_fork(&s, conn[1], &none, &e), 0, "%s", e.msg);
	pid = s.pid;
	(void)close(conn[1]);
	(void)close(pipefd[1]);
	cr_assert_eq(standin_commit(&s, -1, &e), 0, "%s", e.msg);
	/* Nobody else writes there: the end of a captured pipe comes though the stand-in lives. */
	cr_expect_eq(read(pipefd[0], &c, 1), 0);
	cr_expect_eq(getsid(pid), pid);
	cr_assert_eq(kill(pid, SIGTERM), 0);
	expect_said(conn[0], "{\"op\":\"signal\",\"signal\":15}");
	cr_assert(send(conn[0], buf, (size_t)frame(buf, PROXY_NOTIFY, PROXY_EXITED, &status, 1),
		       MSG_NOSIGNAL) > 0);
	cr_expect_eq(status_of(pid), 9);
	(void)close(conn[0]);
	(void)close(pipefd[0]);
}

Test(exec_standin, without_a_commit_it_ends, .timeout = 30)
{
	struct standin s;
	struct err e = {0};
	int conn[2];
	char c;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, conn), 0);
	cr_assert_eq(standin_fork(&s, conn[1], &none, &e), 0, "%s", e.msg);
	(void)close(conn[1]);
	standin_cancel(&s);
	cr_expect_eq(s.pid, -1);
	/* And with it the connection, which is what ends the process in the guest. */
	cr_expect_eq(read(conn[0], &c, 1), 0);
	(void)close(conn[0]);
}
