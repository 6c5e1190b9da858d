/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm ctl`: one request to the control socket of a running machine (control.h), its answer as text or
 * as JSON. Files are opened here, with the user's own rights, and handed over.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "vmm/cmds.h"
#include "vmm/control.h"

#define ANSWER_MAX (256u << 10)

static const char help[] =
    "usage: vmm ctl PATH|NAME COMMAND [ARGUMENT...] [--json]\n\n"
    "  info                      state, memory, devices\n"
    "  stats                     counters of devices and queues, KVM's own, the guest's memory\n"
    "  pause | resume            stop and continue the guest\n"
    "  save FILE                 pause the guest and write all of it, for 'vmm run --restore'\n"
    "  stop                      end the machine\n"
    "  memory SIZE               how much memory the guest is to have (--memory-max, --balloon)\n"
    "  balloon SIZE              how much it is to give up of what it began with (--balloon)\n"
    "  add-disk FILE[,ro]        fill one of the empty disks of --spare-disk\n"
    "  resize-disk DISK [SIZE]   grow the image, or take the size that it has by now\n"
    "  link NIC up|down          plug a network card's cable in or pull it out\n\n"
    "  -j, --json                the answer as JSON\n\n"
    "PATH|NAME is what the machine got with --control; 'vmm ctl NAME info' lists the disks.\n";

static const struct {
	const char *name, *arg[2];
	unsigned min;
} commands[] = {
    {"info", {0}, 0},
    {"stats", {0}, 0},
    {"pause", {0}, 0},
    {"resume", {0}, 0},
    {"save", {"file"}, 1},
    {"stop", {0}, 0},
    {"memory", {"size"}, 1},
    {"balloon", {"size"}, 1},
    {"add-disk", {"file"}, 1},
    {"resize-disk", {"disk", "size"}, 1},
    {"link", {"nic", "state"}, 2},
};

/* FILE[,ro] */
static int open_disk(const char *word, struct err *e)
{
	auto_free char *path = strdup(word);
	size_t len = strlen(word);
	bool ro = len > 3 && !strcmp(word + len - 3, ",ro");
	int fd, rc;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	if (ro)
		path[len - 3] = 0;
	fd = open(path, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	rc = -errno;
	return err_sys(e, rc, "disk '%s'", path);
}

/* ---- a saved machine -----------------------------------------------------------------------------
 *
 * It is written beside FILE and gets its name when it is whole. Only its owner may read it: all that the guest
 * knows is in it.
 */
static char *unfinished; /* what goes when the command is interrupted */

static void on_signal(int sig)
{
	(void)unlink(unfinished);
	(void)raise(sig); /* SA_RESETHAND: ends the process */
}

static void catch_signals(char *part)
{
	static const int sigs[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, was;

	unfinished = part;
	for (size_t i = 0; i < ARRAY_LEN(sigs); i++)
		if (sigaction(sigs[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
			(void)sigaction(sigs[i], &sa, NULL);
}

static int make_part(const char *path, char **part, struct err *e)
{
	struct stat st;
	int fd, rc;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(e, -EEXIST, "save: '%s' is there, and not a regular file", path);
	if (asprintf(part, "%s.XXXXXX", path) < 0) {
		*part = NULL;
		return err_set(e, -ENOMEM, "out of memory");
	}
	fd = mkostemp(*part, O_CLOEXEC);
	if (fd >= 0) {
		catch_signals(*part);
		return fd;
	}
	rc = -errno;
	free(*part);
	*part = NULL;
	return err_sys(e, rc, "save: '%s'", path);
}

static void finish_part(const char *part, const char *path, struct err *e)
{
	if (!part)
		return;
	if (!e->code && rename(part, path) < 0)
		err_sys(e, -errno, "save: '%s'", path);
	if (e->code)
		(void)unlink(part);
}

/*
 * The request of the words @argv (command first). *@fd: a file that goes with it, or -1; *@part: what that one is
 * called until all has gone well, or NULL.
 */
static int make_request(int argc, char **argv, struct json_object **ret, int *fd, char **part,
			struct err *e)
{
	struct json_object *o;
	size_t k = 0;

	while (k < ARRAY_LEN(commands) && strcmp(commands[k].name, argv[0]) != 0)
		k++;
	if (k == ARRAY_LEN(commands))
		return err_set(e, -EINVAL, "unknown command '%s'; see 'vmm ctl --help'", argv[0]);
	if ((unsigned)argc - 1 < commands[k].min)
		return err_set(e, -EINVAL, "%s: too few arguments; see 'vmm ctl --help'", argv[0]);
	for (int i = 1; i < argc; i++)
		if (i > 2 || !commands[k].arg[i - 1])
			return err_set(e, -EINVAL, "%s: unexpected argument '%s'", argv[0],
				       argv[i]);
	if (!strcmp(argv[0], "add-disk")) {
		*fd = open_disk(argv[1], e);
		if (*fd < 0)
			return *fd;
	} else if (!strcmp(argv[0], "save")) {
		*fd = make_part(argv[1], part, e);
		if (*fd < 0)
			return *fd;
	}
	o = json_object_new_object();
	(void)json_object_object_add(o, "command", json_object_new_string(argv[0]));
	for (int i = 1; i < argc; i++)
		(void)json_object_object_add(o, commands[k].arg[i - 1],
					     json_object_new_string(argv[i]));
	*ret = o;
	return 0;
}

static int dial(const char *where, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	auto_fd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int rc = control_path(where, false, sa.sun_path, sizeof(sa.sun_path), e);

	if (rc < 0)
		return rc;
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		rc = -errno;
		if (rc == -ENOENT || rc == -ECONNREFUSED)
			return err_set(e, rc, "no machine listens at '%s'", sa.sun_path);
		return err_sys(e, rc, "'%s'", sa.sun_path);
	}
	return fd_take(&fd);
}

/* The answer's result; NULL with @e set. */
static struct json_object *exchange(int sock, struct json_object *req, int fd, struct err *e)
{
	const char *text = json_object_to_json_string_ext(req, JSON_C_TO_STRING_PLAIN);
	auto_free char *buf = malloc(ANSWER_MAX + 1);
	struct json_object *o, *v = NULL, *ret = NULL;
	ssize_t n;

	if (!buf) {
		err_set(e, -ENOMEM, "out of memory");
		return NULL;
	}
	n = fd_send(sock, text, strlen(text), &fd, fd >= 0 ? 1 : 0);
	if (n > 0) {
		do
			n = recv(sock, buf, ANSWER_MAX, 0);
		while (n < 0 && errno == EINTR);
		n = n < 0 ? -errno : n;
	}
	if (n <= 0) {
		if (n == 0)
			err_set(e, -ECONNRESET, "the machine ended");
		else
			err_sys(e, (int)n, "talking to the machine");
		return NULL;
	}
	buf[n] = 0;
	o = json_tokener_parse(buf);
	if (json_object_object_get_ex(o, "result", &v))
		ret = json_object_get(v);
	else if (json_object_object_get_ex(o, "error", &v))
		err_set(e, -EREMOTEIO, "%s", json_object_get_string(v));
	else
		err_set(e, -EPROTO, "an answer that is none");
	json_object_put(o);
	return ret;
}

/* ---- text ----------------------------------------------------------------------------------------
 */
static bool is_bytes(const char *key)
{
	static const char *const keys[] = {
	    "boot",	"max",	"wanted", "now",       "balloon", "balloon-target",
	    "reported", "free", "total",  "available", "caches",  "bytes"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (!strcmp(keys[i], key))
			return true;
	return false;
}

static void print_value(const char *key, struct json_object *v)
{
	if (is_bytes(key) && json_object_is_type(v, json_type_int))
		printf("%.1fM", (double)json_object_get_uint64(v) / 1048576.0);
	else
		printf("%s", json_object_get_string(v));
}

/* One line for each value, objects below their name; of a list, each object is one line. */
static void print_object(struct json_object *o, int depth, bool one_line)
{
	const char *sep = "";

	json_object_object_foreach(o, key, v)
	{
		if (json_object_is_type(v, json_type_array)) {
			if (one_line && json_object_array_length(v))
				printf("\n");
			else if (!one_line)
				printf("%*s%s:\n", depth * 2, "", key);
			for (size_t i = 0; i < json_object_array_length(v); i++) {
				printf("%*s", depth * 2 + 2, "");
				print_object(json_object_array_get_idx(v, i), depth + 1, true);
				printf("%s", i + 1 < json_object_array_length(v) || !one_line ? "\n"
											      : "");
			}
		} else if (json_object_is_type(v, json_type_object)) {
			if (!json_object_object_length(v))
				continue;
			printf("%*s%s:\n", depth * 2, "", key);
			print_object(v, depth + 1, false);
		} else if (one_line) {
			printf("%s%s ", sep, key);
			print_value(key, v);
			sep = "  ";
		} else {
			printf("%*s%s: ", depth * 2, "", key);
			print_value(key, v);
			printf("\n");
		}
	}
}

int cmd_ctl(int argc, char **argv)
{
	static const struct option options[] = {
	    {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	static char program[] = "vmm: ctl";
	struct json_object *req = NULL, *result = NULL;
	auto_fd sock = -1;
	auto_fd fd = -1;
	auto_free char *part = NULL;
	struct err e = {0};
	bool json = false;
	int c, status = 2;

	argv[0] = program;
	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		json = true;
	}
	if (argc - optind < 2) {
		fprintf(stderr,
			"vmm: ctl: a machine and a command are needed; see 'vmm ctl --help'\n");
		return 2;
	}
	if (make_request(argc - optind - 1, argv + optind + 1, &req, &fd, &part, &e) == 0) {
		status = 1;
		sock = dial(argv[optind], &e);
		result = sock < 0 ? NULL : exchange(sock, req, fd, &e);
	}
	/* The file's name is the second word, behind the command. */
	finish_part(part, part ? argv[optind + 2] : NULL, &e);
	if (e.code)
		fprintf(stderr, "vmm: ctl: %s\n", e.msg);
	else if (json)
		printf("%s\n", json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN));
	else
		print_object(result, 0, false);
	json_object_put(req);
	json_object_put(result);
	return e.code ? status : 0;
}
