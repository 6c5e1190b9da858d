/* SPDX-License-Identifier: Apache-2.0 */
/* A container's directory and its state.json. See state.h. */
#include "runtime/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fd.h"

static const char *const status_names[] = {"creating", "created", "running", "paused", "stopped"};

static const struct json_rule rules[] = {
    {"id", JSON_STR, true},	      {"ociVersion", JSON_STR, true},
    {"bundle", JSON_STR, true},	      {"rootfs", JSON_STR, true},
    {"status", JSON_STR, true},	      {"pid", JSON_U32, true},
    {"startTime", JSON_U64, true},    {"created", JSON_STR, true},
    {"annotations", JSON_MAP, false}, {"cgroup", JSON_OBJ, false},
    {"exitStatus", JSON_I64, true},   {"vm", JSON_OBJ, false},
    {"vm.memory", JSON_U64, true},    {"vm.memoryMax", JSON_U64, true},
    {"vm.guest", JSON_U64, true},     {"vm.host", JSON_U64, true},
    {"vm.vcpus", JSON_U32, true},     {"vm.vcpusMax", JSON_U32, true},
};

static char *dup_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

void state_free(struct state *s)
{
	free(s->id);
	free(s->bundle);
	free(s->rootfs);
	free(s->version);
	json_put_ptr(&s->cgroup);
	json_put_ptr(&s->annotations);
	memset(s, 0, sizeof(*s));
}

int state_dup(struct state **ret, const struct state *s)
{
	struct state *d = malloc(sizeof(*d));

	if (!d)
		return -ENOMEM;
	*d = *s;
	d->id = dup_or_null(s->id);
	d->bundle = dup_or_null(s->bundle);
	d->rootfs = dup_or_null(s->rootfs);
	d->version = dup_or_null(s->version);
	d->cgroup = s->cgroup ? json_object_get(s->cgroup) : NULL;
	d->annotations = s->annotations ? json_object_get(s->annotations) : NULL;
	*ret = d;
	return d->id && d->bundle && d->rootfs && d->version ? 0 : -ENOMEM;
}

const char *state_status_name(enum state_status s)
{
	return status_names[s];
}

int state_check_id(const char *id, struct err *e)
{
	static const char set[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-";

	/* What the agent takes, too: in the guest it is the name of a cgroup. */
	if (!*id || id[strspn(id, set)] || id[0] == '.')
		return err_set(
		    e, -EINVAL,
		    "invalid container ID '%.200s': it may have letters, digits, and _+.-, "
		    "and does not begin with a dot",
		    id);
	if (strlen(id) > NAME_MAX)
		return err_set(e, -ENAMETOOLONG,
			       "invalid container ID '%.64s…': longer than %d characters", id,
			       NAME_MAX);
	return 0;
}

static int make_parents(const char *path, struct err *e)
{
	char buf[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(buf))
		return err_set(e, -ENAMETOOLONG, "state directory '%.100s…': too long", path);
	memcpy(buf, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (buf[i] != '/' && buf[i])
			continue;
		buf[i] = '\0';
		if (mkdir(buf, 0700) < 0 && errno != EEXIST)
			return err_sys(e, -errno, "state directory '%s'", buf);
		buf[i] = i < n ? '/' : '\0';
	}
	return 0;
}

static int open_root(const char *root, struct err *e)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, -errno, "state directory '%s'", root) : fd;
}

static int id_taken(const char *id, struct err *e)
{
	return err_set(e, -EEXIST, "container with given ID already exists: %s", id);
}

int state_check_free(const char *root, const char *id, struct err *e)
{
	auto_fd rootfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (rootfd >= 0 && fstatat(rootfd, id, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return id_taken(id, e);
	return 0;
}

/* 1 when nothing is in it, 0 when something is, -errno. */
static int is_empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	int empty = 1;

	if (!d) {
		int rc = -errno;

		fd_close(&fd);
		return rc;
	}
	while (empty == 1 && (de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			empty = 0;
	(void)closedir(d);
	return empty;
}

int state_make_dir(const char *root, const char *id, int *ret_dir, struct err *e)
{
	auto_fd rootfd = -1;
	auto_fd dir = -1;
	int rc;

	rc = make_parents(root, e);
	if (rc < 0)
		return rc;
	rootfd = open_root(root, e);
	if (rootfd < 0)
		return rootfd;
	if (mkdirat(rootfd, id, 0700) < 0) {
		if (errno == EEXIST)
			return id_taken(id, e);
		return err_sys(e, -errno, "making %s/%s", root, id);
	}
	/* Whatever the umask: the sandbox process has no capability to pass by a mode. */
	rc = fchmodat(rootfd, id, 0700, 0) < 0 ? -errno : 0;
	if (rc == 0)
		dir = openat(rootfd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && (errno == ENOENT || errno == ESTALE))
		return err_set(e, -ECANCELED, "container '%s' was deleted while it was made", id);
	if (dir < 0) {
		rc = err_sys(e, -errno, "opening %s/%s", root, id);
		(void)unlinkat(rootfd, id, AT_REMOVEDIR);
		return rc;
	}
	rc = state_lock(dir, id, e);
	if (rc == -ENOENT)
		return err_set(e, -ECANCELED, "container '%s' was deleted while it was made", id);
	/*
	 * Between mkdirat() and openat() somebody may have deleted it and somebody else made it again:
	 * whoever holds the lock while nothing is in it owns it.
	 */
	if (rc == 0)
		rc = is_empty(dir);
	if (rc == 0)
		return id_taken(id, e);
	if (rc < 0)
		return e->code ? rc : err_sys(e, rc, "opening %s/%s", root, id);
	*ret_dir = fd_take(&dir);
	return 0;
}

int state_open_dir(const char *root, const char *id, int *ret_dir, struct err *e)
{
	char path[PATH_MAX];
	int fd, rc = state_check_id(id, e);

	if (rc < 0)
		return rc;
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", root, id) >= sizeof(path))
		return err_set(e, -ENAMETOOLONG, "state directory '%.100s…': too long", root);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT, "container '%s' does not exist", id);
	if (fd < 0)
		return err_sys(e, -errno, "container '%s': opening %s", id, path);
	*ret_dir = fd;
	return 0;
}

int state_lock(int dir, const char *id, struct err *e)
{
	struct stat st;
	int rc;

	do {
		rc = flock(dir, LOCK_EX) < 0 ? -errno : 0;
	} while (rc == -EINTR);
	if (rc < 0)
		return err_sys(e, rc, "locking container '%s'", id);
	if (fstat(dir, &st) < 0 || st.st_nlink == 0)
		return err_set(e, -ENOENT, "container '%s' does not exist", id);
	return 0;
}

void state_unlock(int dir)
{
	(void)flock(dir, LOCK_UN);
}

int state_remove_dir(int rootdir, const char *id)
{
	int fd = openat(rootdir, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *de;
	DIR *d;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return -ENOMEM;
	}
	/* Flat: whatever else somebody put there keeps the directory, and the caller hears of it.
	 */
	while ((de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), de->d_name, 0);
	(void)closedir(d);
	return unlinkat(rootdir, id, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static void add_size(struct json_object *o, const struct sizing *size)
{
	struct json_object *vm = json_object_new_object();

	json_add_i64(vm, "memory", (int64_t)size->memory);
	json_add_i64(vm, "memoryMax", (int64_t)size->memory_max);
	json_add_i64(vm, "guest", (int64_t)size->guest);
	json_add_i64(vm, "host", (int64_t)size->host);
	json_add_i64(vm, "vcpus", size->cpus);
	json_add_i64(vm, "vcpusMax", size->cpus_max);
	(void)json_object_object_add(o, "vm", vm);
}

static void read_size(struct json_object *o, struct sizing *ret)
{
	ret->memory = (uint64_t)json_i64(o, "vm.memory", 0);
	ret->memory_max = (uint64_t)json_i64(o, "vm.memoryMax", 0);
	ret->guest = (uint64_t)json_i64(o, "vm.guest", 0);
	ret->host = (uint64_t)json_i64(o, "vm.host", 0);
	ret->cpus = (unsigned)json_i64(o, "vm.vcpus", 0);
	ret->cpus_max = (unsigned)json_i64(o, "vm.vcpusMax", 0);
}

/*
 * For a file system without room for a second file: over the first one, whose room is there. Who
 * reads it in that moment may find it torn, which is better than finding it wrong for ever. Blanks at
 * the end of JSON mean nothing.
 */
static int overwrite(int dir, const char *text, size_t len)
{
	auto_fd fd = openat(dir, STATE_FILE, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_free char *buf = NULL;
	struct stat st;
	size_t whole;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	whole = MAX(len, (size_t)st.st_size);
	buf = malloc(whole);
	if (!buf)
		return -ENOMEM;
	memset(buf, ' ', whole);
	memcpy(buf, text, len);
	return fd_write_full(fd, buf, whole);
}

int state_save(int dir, const struct state *s)
{
	auto_json o = json_object_new_object();
	const char *text;
	int rc;

	if (!o)
		return -ENOMEM;
	json_add_str(o, "id", s->id);
	json_add_str(o, "ociVersion", s->version);
	json_add_str(o, "bundle", s->bundle);
	json_add_str(o, "rootfs", s->rootfs);
	json_add_str(o, "status", status_names[s->status]);
	json_add_i64(o, "pid", s->pid);
	json_add_i64(o, "startTime", (int64_t)s->start_time);
	json_add_str(o, "created", s->created);
	if (s->cgroup)
		(void)json_object_object_add(o, "cgroup", json_object_get(s->cgroup));
	add_size(o, &s->size);
	json_add_i64(o, "exitStatus", s->exit_status);
	if (s->annotations)
		(void)json_object_object_add(o, "annotations", json_object_get(s->annotations));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	rc = text ? fd_replace_file(dir, STATE_FILE, text, strlen(text), 0600) : -ENOMEM;
	if ((rc == -ENOSPC || rc == -EDQUOT) && overwrite(dir, text, strlen(text)) == 0)
		return 0;
	return rc;
}

int state_load(int dir, struct state *ret, struct err *e)
{
	auto_free char *text = NULL;
	auto_json o = NULL;
	const char *status;
	size_t len = 0, i = 0;
	int rc = fd_read_file(dir, STATE_FILE, 1 << 20, &text, &len);

	memset(ret, 0, sizeof(*ret));
	if (rc == -ENOENT)
		return rc;
	if (rc < 0)
		return err_sys(e, rc, STATE_FILE);
	rc = json_parse(text, len, STATE_FILE, &o, e);
	if (rc == 0)
		rc = json_check(o, STATE_FILE, rules, ARRAY_LEN(rules), e);
	if (rc < 0)
		return rc;
	status = json_str(o, "status", "");
	while (i < ARRAY_LEN(status_names) && strcmp(status_names[i], status) != 0)
		i++;
	if (i == ARRAY_LEN(status_names))
		return err_set(e, -EINVAL, STATE_FILE ": status: '%s' is unknown", status);
	ret->status = (enum state_status)i;
	ret->id = dup_or_null(json_str(o, "id", ""));
	ret->bundle = dup_or_null(json_str(o, "bundle", ""));
	ret->rootfs = dup_or_null(json_str(o, "rootfs", ""));
	ret->version = dup_or_null(json_str(o, "ociVersion", ""));
	ret->cgroup = json_object_get(json_at(o, "cgroup"));
	read_size(o, &ret->size);
	ret->pid = (pid_t)json_i64(o, "pid", 0);
	ret->start_time = (uint64_t)json_i64(o, "startTime", 0);
	ret->exit_status = (int)json_i64(o, "exitStatus", -1);
	(void)snprintf(ret->created, sizeof(ret->created), "%s", json_str(o, "created", ""));
	ret->annotations = json_object_get(json_at(o, "annotations"));
	if (ret->status != STATE_CREATING && ret->status != STATE_STOPPED && !state_alive(ret))
		ret->status = STATE_STOPPED;
	return 0;
}

struct json_object *state_to_json(const struct state *s, enum state_status status, bool for_user,
				  const char *owner)
{
	struct json_object *o = json_object_new_object();

	json_add_str(o, "ociVersion", s->version);
	json_add_str(o, "id", s->id);
	json_add_i64(o, "pid", status == STATE_STOPPED && for_user ? 0 : s->pid);
	json_add_str(o, "status", status_names[status]);
	json_add_str(o, "bundle", s->bundle);
	if (for_user) {
		json_add_str(o, "rootfs", s->rootfs);
		json_add_str(o, "created", s->created);
	}
	if (s->annotations)
		(void)json_object_object_add(o, "annotations", json_object_get(s->annotations));
	if (for_user)
		json_add_str(o, "owner", owner);
	return o;
}

/* /proc/PID/stat from its third field on, the letter of the state; NULL: no such process. */
static char *stat_of(pid_t pid, char **ret_text)
{
	char path[32], *p;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || fd_read_file(AT_FDCWD, path, 4096, ret_text, NULL) < 0)
		return NULL;
	/* "pid (comm) S …": comm may have anything in it, so from its last parenthesis. */
	p = strrchr(*ret_text, ')');
	return p && p[1] == ' ' && p[2] ? p + 2 : NULL;
}

bool state_is_halted(const struct state *s)
{
	auto_free char *text = NULL;
	const char *p = stat_of(s->pid, &text);

	return p && (*p == 'T' || *p == 't');
}

uint64_t state_start_time(pid_t pid)
{
	auto_free char *text = NULL;
	unsigned long long v = 0;
	char *p = stat_of(pid, &text);

	if (!p || *p == 'Z' || *p == 'X')
		return 0;
	for (int field = 3; field < 22 && p; field++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	if (p && sscanf(p, "%llu", &v) != 1)
		v = 0;
	return v;
}

bool state_alive(const struct state *s)
{
	return s->pid > 0 && s->start_time && state_start_time(s->pid) == s->start_time;
}
