/* SPDX-License-Identifier: Apache-2.0 */
/* The birth of a sandbox process. See sandbox.h. One thread until box_boot(). */
#include "runtime/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/sigfd.h"
#include "runtime/box.h"
#include "runtime/cgroup.h"
#include "runtime/clients.h"
#include "runtime/confine.h"
#include "runtime/hooks.h"
#include "runtime/inroot.h"
#include "runtime/mounts.h"
#include "runtime/netown.h"
#include "vmm/vcpu.h"

#define NOFILE_MAX 1048576u

struct birth {
	struct sandbox_args *a;
	struct box_fds fds;
	int root_dir; /* of the state directories: what is left after the pivot to remove ours with
		       */
	struct cgroup_hold cgroups;
	int tree;   /* the container's root */
	int status; /* for the CLI, of a failure */
};

/* ---- talking to the CLI ---------------------------------------------------------------------- */

static int say(int chan, enum say what)
{
	struct say_msg m = {.what = (char)what};

	return send(chan, &m, sizeof(m), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void say_failed(const struct birth *b, const struct err *e)
{
	struct say_msg m = {.what = SAY_FAILED, .status = b->status, .code = e->code};

	memcpy(m.text, e->msg, sizeof(m.text));
	if (send(b->a->chan, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		log_err("%s", e->msg); /* nobody is there any more */
}

static int await(int chan, enum say what, struct err *e)
{
	struct say_msg m = {0};
	ssize_t n;

	do {
		n = recv(chan, &m, sizeof(m), 0);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(m) && m.what == (char)what)
		return 0;
	return err_set(e, -ECANCELED, "husk create ended before the container was made");
}

/* Is the CLI still there? */
static int attended(int chan, struct err *e)
{
	char c;

	if (recv(chan, &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
		return 0;
	return err_set(e, -ECANCELED, "husk create ended before the container was made");
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* The host's kernel chooses among VMs as the engine means it to choose among containers. */
static void set_oom_score(const struct spec *s)
{
	char text[24];
	int rc;

	if (!json_at(s->root, "process.oomScoreAdj"))
		return;
	(void)snprintf(text, sizeof(text), "%lld",
		       (long long)json_i64(s->root, "process.oomScoreAdj", 0));
	rc = fd_write_file(AT_FDCWD, "/proc/self/oom_score_adj", text, strlen(text), 0);
	if (rc < 0)
		log_warn("config.json: process.oomScoreAdj: %s on the host: %s", text,
			 strerror(-rc));
}

/* Descriptors that later steps need and a path would no longer lead to. */
static int take_hold(struct birth *b, struct err *e)
{
	struct sandbox_args *a = b->a;

	b->root_dir = open(a->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->root_dir < 0)
		return err_sys(e, -errno, "state directory '%s'", a->root);
	/* That very directory: by now its name could be another's. */
	b->fds.state_dir = openat(a->state_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->fds.state_dir < 0)
		return err_sys(e, -errno, "state directory '%s/%s'", a->root, a->state.id);
	/* The lock is the CLI's: it ends with the CLI's descriptor, not with a copy of it here. */
	fd_close(&a->state_dir);
	b->fds.proc = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->fds.proc < 0)
		return err_sys(e, -errno, "/proc/self/fd");
	set_oom_score(a->spec);
	b->fds.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (b->fds.kvm < 0)
		return errno == ENOENT
			   ? err_set(e, -ENOENT,
				     "/dev/kvm does not exist: this host has no KVM ('vmm check' "
				     "tells more)")
			   : err_sys(e, -errno, "/dev/kvm");
	if (a->net.model != NET_NONE)
		b->fds.tun =
		    open("/dev/net/tun", O_PATH | O_CLOEXEC); /* missed when it is needed */
	if (a->net.model != NET_NONE) {
		b->fds.own = netown_load();
		if (b->fds.own < 0)
			log_dbg("network: no program for the name space's own packets: %s",
				strerror(-b->fds.own));
	}
	if (a->net.model == NET_MACVTAP)
		b->fds.dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	b->fds.listen = clients_listen(b->fds.state_dir, e);
	return b->fds.listen < 0 ? b->fds.listen : 0;
}

static int loopback_up(void)
{
	auto_fd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_name = "lo"};

	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* Is this the network name space that husk runs in? Its interfaces are not to be taken away. */
static bool is_ours(int netns)
{
	struct stat a, b;

	return fstat(netns, &a) == 0 && stat("/proc/self/ns/net", &b) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int enter_network(const struct spec *s, struct err *e)
{
	auto_fd fd = -1;
	int rc;

	if (!s->netns) {
		if (unshare(CLONE_NEWNET) < 0)
			return err_sys(e, -errno, "making a network namespace");
		rc = loopback_up();
		return rc < 0 ? err_sys(e, rc, "setting lo up") : 0;
	}
	fd = open(s->netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a fifo */
	if (fd < 0)
		return err_sys(e, -errno, "network namespace '%s'", s->netns);
	rc = ioctl(fd, NS_GET_NSTYPE);
	if (rc != CLONE_NEWNET)
		return err_set(e, -EINVAL, "network namespace '%s': it is not one", s->netns);
	if (is_ours(fd))
		return err_set(
		    e, -ENOTSUP,
		    "network namespace '%s' is the host's: a container in a VM needs one "
		    "of its own",
		    s->netns);
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_sys(e, -errno, "network namespace '%s'", s->netns);
	return 0;
}

static int enter_namespaces(struct birth *b, struct err *e)
{
	struct sandbox_args *a = b->a;
	int rc;

	if (a->cgroup.version) {
		cgroup_hold(&b->cgroups, &a->cgroup);
		rc = cgroup_enter(&a->cgroup, a->state.id, &a->limits, e);
		if (rc < 0)
			return rc;
	}
	rc = enter_network(a->spec, e);
	if (rc == 0 && b->fds.own >= 0)
		forward_listen(b->fds.forward);
	if (rc == 0 && unshare(CLONE_NEWNS) < 0)
		rc = err_sys(e, -errno, "making a mount namespace");
	return rc;
}

/* The entry point, where the host can see it: a caller learns at create what start could only say
 * late. */
static int find_entry(struct birth *b, struct err *e)
{
	const struct spec *s = b->a->spec;
	struct json_object *args = json_at(s->root, "process.args");
	const char *arg0;
	int rc;

	if (!args)
		return 0;
	arg0 = json_object_get_string(json_object_array_get_idx(args, 0));

	if (arg0[0] == '/' && mounts_is_guests(s, arg0))
		return 0;
	rc =
	    inroot_find_exec(b->tree, arg0, spec_path(s), json_str(s->root, "process.cwd", "/"), e);
	if (rc < 0)
		b->status = rc == -ENOENT ? 127 : 126;
	return rc;
}

static int build_tree(struct birth *b, struct err *e)
{
	const struct spec *s = b->a->spec;
	auto_json doc = NULL;
	int rc = mounts_build(s, &b->tree, e);

	if (rc < 0)
		return rc;
	doc = state_to_json(&b->a->state, STATE_CREATING, false, NULL);
	rc = hooks_run(s->root, "createContainer", doc, NULL, e);
	if (rc == 0)
		rc = find_entry(b, e);
	return rc;
}

/*
 * With a pty its slave is stdin and stdout and tells us of its size; what the CLI was started with
 * is the engine's, which waits for the end of it.
 */
static int take_terminal(struct birth *b, struct err *e)
{
	struct sandbox_args *a = b->a;
	auto_fd null = -1;

	if (a->tty_fd < 0)
		return 0;
	if (a->tty_own && ioctl(a->tty_fd, TIOCSCTTY, 0) < 0)
		return err_sys(e, -errno, "terminal: taking control of it");
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return err_sys(e, -errno, "/dev/null");
	for (int i = a->tty_own ? 0 : 2; i < 3; i++)
		if (dup2(null, i) < 0)
			return err_sys(e, -errno, "/dev/null");
	return 0;
}

static int block_signals(struct birth *b, struct err *e)
{
	/* The C library's pipes and the vCPUs' kick are no message for the loop. */
	const int open[] = {SIGPIPE, VCPU_SIGNAL};

	(void)signal(SIGPIPE, SIG_IGN);
	b->fds.signals = sigfd_open(open, ARRAY_LEN(open), e);
	return MIN(b->fds.signals, 0);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Closes every descriptor from 3 up but @keep. */
static int close_others(int *keep, size_t cnt)
{
	unsigned from = 3;

	qsort(keep, cnt, sizeof(*keep), by_number);
	for (size_t i = 0; i < cnt; i++) {
		if (keep[i] < (int)from)
			continue;
		if (keep[i] > (int)from &&
		    syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0u) < 0)
			return -errno;
		from = (unsigned)keep[i] + 1;
	}
	return syscall(SYS_close_range, from, ~0u, 0u) < 0 ? -errno : 0;
}

static int close_all_but_ours(struct birth *b, struct err *e)
{
	struct sandbox_args *a = b->a;
	int keep[15 + FORWARD_FDS + DISKS_MAX + CGROUP_DIRS_MAX] = {
	    b->fds.kvm,		 b->fds.proc,	     b->fds.listen, b->fds.state_dir,
	    b->fds.signals,	 b->root_dir,	     a->chan,	    a->log_fd,
	    a->assets.kernel_fd, a->assets.image_fd, a->tty_fd,	    a->assets.initrd_fd,
	    b->fds.tun,		 b->fds.dev,	     b->fds.own};
	size_t cnt = 15;
	struct rlimit files = {.rlim_cur = NOFILE_MAX, .rlim_max = NOFILE_MAX};
	struct rlimit none = {0};
	int rc;

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	/* A core of this process would have the guest's memory in it. */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
	for (unsigned i = 0; i < a->disks.cnt; i++)
		keep[cnt++] = a->disks.v[i].fd;
	for (unsigned i = 0; i < b->cgroups.cnt; i++)
		keep[cnt++] = b->cgroups.fd[i];
	for (unsigned i = 0; i < FORWARD_FDS; i++)
		keep[cnt++] = b->fds.forward[i];
	rc = close_others(keep, cnt);
	if (rc < 0)
		return err_sys(e, rc, "closing descriptors");
	(void)umask(0); /* the modes of the container's files are the container's */
	return 0;
}

static int publish_created(struct birth *b, struct err *e)
{
	struct state *s = &b->a->state;
	int rc;

	s->status = STATE_CREATED;
	rc = state_save(b->fds.state_dir, s);
	return rc < 0 ? err_sys(e, rc, "writing " STATE_FILE) : 0;
}

/* From the fork to the moment when the CLI may tell the engine "created". */
static int be_born(struct birth *b, struct box **ret, struct err *e)
{
	struct sandbox_args *a = b->a;
	int rc;

	(void)setsid();
	(void)umask(022); /* mount points that are made are for the container's users */
	a->state.pid = getpid();
	a->state.start_time = state_start_time(a->state.pid);
	rc = take_hold(b, e);
	if (rc < 0)
		return rc;
	rc = state_save(b->fds.state_dir, &a->state); /* from here on delete finds us */
	if (rc < 0)
		return err_sys(e, rc, "writing " STATE_FILE);
	rc = take_terminal(b, e);
	if (rc == 0)
		rc = enter_namespaces(b, e);
	if (rc < 0)
		return rc;
	if (say(a->chan, SAY_BORN) < 0)
		return err_set(e, -ECANCELED, "husk create ended before the container was made");
	rc = await(a->chan, SAY_GO_ON, e);
	if (rc == 0)
		rc = build_tree(b, e);
	if (rc == 0)
		rc = mounts_pivot(b->tree, e);
	if (rc == 0)
		rc = block_signals(b, e);
	if (rc == 0)
		rc = close_all_but_ours(b, e);
	if (rc == 0) /* the last moment when everything can be undone from here */
		rc = attended(a->chan, e);
	if (rc == 0)
		rc = box_new(ret, a, &b->fds, e);
	if (rc == 0)
		rc = confine_process(e);
	if (rc == 0)
		rc = box_boot(*ret, e);
	if (rc == 0)
		rc = publish_created(b, e);
	return rc;
}

/*
 * Nothing stays of a container that was never committed; but where the cgroup cannot be removed from
 * here, what is known of it stays for its CLI, or for `husk delete --force` when that has gone.
 */
static void undo(struct birth *b)
{
	struct sandbox_args *a = b->a;
	struct stat st;

	if (cgroup_undo(&b->cgroups, &a->cgroup) < 0)
		return;
	/* Deleted by somebody, its name may be another's already. */
	if (b->root_dir >= 0 && fstat(b->fds.state_dir, &st) == 0 && st.st_nlink > 0)
		(void)state_remove_dir(b->root_dir, a->state.id);
}

int sandbox_main(struct sandbox_args *a)
{
	struct birth b = {.a = a,
			  .fds = {.kvm = -1,
				  .proc = -1,
				  .tun = -1,
				  .dev = -1,
				  .own = -1,
				  .forward = {-1, -1},
				  .listen = -1,
				  .state_dir = -1,
				  .signals = -1},
			  .root_dir = -1,
			  .tree = -1,
			  .status = 1};
	struct log_config log = *log_current();
	struct box *box = NULL;
	struct err e = {0};
	int rc;

	/* stderr is the container's from here on. */
	log.stderr_level = -1;
	log.id = a->state.id;
	log_setup(&log);
	rc = be_born(&b, &box, &e);
	if (rc < 0) {
		say_failed(&b, &e);
		box_free(box);
		undo(&b);
		return b.status;
	}
	if (say(a->chan, SAY_READY) < 0 || await(a->chan, SAY_COMMIT, &e) < 0) {
		box_free(box);
		undo(&b);
		return 1;
	}
	fd_close(&a->chan);
	fd_close(&a->assets.kernel_fd); /* copied and mapped */
	fd_close(&a->assets.image_fd);
	fd_close(&a->assets.initrd_fd);
	fd_close(&b.root_dir);
	cgroup_let_go(&b.cgroups);
	rc = box_run(box);
	box_free(box);
	return rc;
}
