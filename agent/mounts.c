/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of the spec, in its order. File systems of the guest are made here (fsopen). Binds are
 * in the root's tree already, made by the sandbox process; since a mount of the guest may cover
 * them, and since their options hold in the guest too, a copy of each is taken before anything is
 * mounted and attached at its turn. In a child, before the pivot.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/userns.h"
#include "base/fd.h"
#include "base/fsmake.h"

/* Of the host's, what is under these is the kernel's: the guest has its own. */
static bool is_kernel_path(const char *src)
{
	static const char *const trees[] = {"/proc", "/sys", "/dev"};

	for (size_t i = 0; src && i < ARRAY_LEN(trees); i++) {
		size_t n = strlen(trees[i]);

		if (strncmp(src, trees[i], n) == 0 && (!src[n] || src[n] == '/'))
			return true;
	}
	return false;
}

static int hold_one(int root, const struct spec_mount *m)
{
	auto_fd fd = -1;

	if (is_kernel_path(m->source)) {
		fd = open(m->source, O_PATH | O_CLOEXEC);
		if (fd >= 0)
			return mount_clone(fd, true);
	}
	fd = jail_open(root, m->dest, O_PATH);
	return fd < 0 ? fd : mount_clone(fd, true);
}

int mounts_hold(int root, const struct spec *s, int **ret_fds, struct err *e)
{
	int *fds = calloc(s->mounts_cnt + 1, sizeof(*fds));

	if (!fds)
		return err_set(e, -ENOMEM, "mounts: out of memory");
	for (size_t i = 0; i < s->mounts_cnt; i++) {
		fds[i] = s->mounts[i].repeat ? hold_one(root, &s->mounts[i]) : -1;
		if (s->mounts[i].repeat && fds[i] < 0) {
			int rc = fds[i];

			/* The child ends with this: what is open closes. */
			free(fds);
			return err_sys(e, rc, "mount of '%s' on '%s': not in the container's root",
				       s->mounts[i].source ? s->mounts[i].source : "",
				       s->mounts[i].dest);
		}
	}
	*ret_fds = fds;
	return 0;
}

/* Options of cgroup v1 mean nothing to v2: there is one hierarchy with everything. */
static bool skip_option(const struct spec_mount *m, const char *opt)
{
	return strcmp(m->type, "cgroup") == 0 && strcmp(opt, "nsdelegate") != 0;
}

/* An owner in an option is the container's; the file system is made with the agent's eyes. */
static int own_option(const struct spec *s, const char *opt, char *buf, size_t cap,
		      const char **ret, struct err *e)
{
	bool uid = strncmp(opt, "uid=", 4) == 0;
	unsigned long id;
	uint32_t k;
	char *end;

	*ret = opt;
	if (!(s->clone_flags & CLONE_NEWUSER) || (!uid && strncmp(opt, "gid=", 4) != 0))
		return 0;
	errno = 0;
	id = strtoul(opt + 4, &end, 10);
	if (*end || end == opt + 4 || errno || id >= UINT32_MAX)
		return err_set(e, -EINVAL, "option '%s': not an id", opt);
	k = uid ? userns_kuid(s, (uint32_t)id) : userns_kgid(s, (uint32_t)id);
	if (k == UINT32_MAX)
		return err_set(e, -EINVAL, "option '%s': not mapped in the user namespace", opt);
	(void)snprintf(buf, cap, "%.4s%u", opt, k);
	*ret = buf;
	return 0;
}

static int make_fs(const struct spec *s, const struct spec_mount *m, struct err *e)
{
	const char *type = strcmp(m->type, "cgroup") == 0 ? "cgroup2" : m->type;
	const char *opts[MOUNTOPT_DATA_MAX];
	char owners[2][16];
	size_t cnt = 0;
	int fd, rc = 0;

	for (size_t i = 0; rc == 0 && i < m->opt.data_cnt; i++) {
		const char *opt = m->opt.data[i];

		/* The last uid= counts, and the last gid=. */
		if (!skip_option(m, opt))
			rc = own_option(s, opt, owners[opt[0] == 'u'], sizeof(owners[0]),
					&opts[cnt++], e);
	}
	fd =
	    rc < 0 ? rc : fs_make(type, m->source && m->source[0] ? m->source : type, opts, cnt, e);
	return fd < 0 ? err_wrap(e, "mount on '%s'", m->dest) : fd;
}

static int apply_options(int fd, const struct spec_mount *m)
{
	const struct mountopt *o = &m->opt;
	int rc = mount_attr(fd, false, o->set, o->clr, 0);

	rc = rc ? rc : mount_attr(fd, true, o->rec_set, o->rec_clr, 0);
	return rc;
}

static bool is_dir(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* tmpcopyup: the new tmpfs starts with what it covers. Regular files, directories and links. */
static int copy_tree(int from, int to, unsigned depth);

static int mount_one(int root, const struct spec *s, const struct spec_mount *m, int held,
		     struct err *e)
{
	auto_fd mnt = held;
	auto_fd target = -1;
	int rc;

	if (mnt < 0)
		mnt = make_fs(s, m, e);
	if (mnt < 0)
		return mnt;
	target = jail_make(root, m->dest, 0755, !is_dir(mnt));
	if (target < 0)
		return err_sys(e, target, "mounting %s on '%s': its mount point", m->type, m->dest);
	if (m->opt.tmpcopyup && is_dir(target)) {
		rc = copy_tree(target, mnt, 0);
		if (rc < 0)
			return err_sys(e, rc, "mounting %s on '%s': copying", m->type, m->dest);
	}
	rc = apply_options(mnt, m);
	rc = rc ? rc : mount_move(mnt, target);
	if (rc == 0 && m->opt.propagation)
		rc = mount_attr(mnt, m->opt.propagation & MS_REC, 0, 0, m->opt.propagation);
	return rc < 0 ? err_sys(e, rc, "mounting %s on '%s'", m->type, m->dest) : 0;
}

int mounts_make(int root, const struct spec *s, const int *held, struct err *e)
{
	for (size_t i = 0; i < s->mounts_cnt; i++) {
		int rc = mount_one(root, s, &s->mounts[i], held[i], e);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- tmpcopyup ------------------------------------------------------------------------------- */

#include <dirent.h>

#define COPY_DEPTH_MAX 64

static int copy_file(int from, int to, const char *name, const struct stat *st)
{
	auto_fd in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	auto_fd out = -1;
	char buf[16384];
	ssize_t n;

	if (in < 0)
		return -errno;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	while ((n = fd_read_full(in, buf, sizeof(buf))) > 0) {
		int rc = fd_write_full(out, buf, (size_t)n);

		if (rc < 0)
			return rc;
	}
	if (n == 0 &&
	    (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0))
		return -errno;
	return (int)n;
}

static int copy_link(int from, int to, const char *name, const struct stat *st)
{
	char target[4096];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (symlinkat(target, to, name) < 0 ||
	    fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int copy_dir(int from, int to, const char *name, const struct stat *st, unsigned depth)
{
	auto_fd in = -1;
	auto_fd out = -1;

	if (depth >= COPY_DEPTH_MAX)
		return -ELOOP;
	if (mkdirat(to, name, 0700) < 0)
		return -errno;
	in = openat(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0 || out < 0)
		return -errno;
	if (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0)
		return -errno;
	return copy_tree(in, out, depth + 1);
}

static int copy_tree(int from, int to, unsigned depth)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *de;
	DIR *d;
	int rc = 0;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		rc = -errno;
		(void)close(fd);
		return rc;
	}
	while (rc == 0 && (de = readdir(d)) != NULL) {
		struct stat st;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			rc = copy_file(fd, to, de->d_name, &st);
		else if (S_ISLNK(st.st_mode))
			rc = copy_link(fd, to, de->d_name, &st);
		else if (S_ISDIR(st.st_mode))
			rc = copy_dir(fd, to, de->d_name, &st, depth);
	}
	(void)closedir(d);
	return rc;
}
