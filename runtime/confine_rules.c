/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of each thread of a sandbox process, with the reason for each. Whatever is not
 * here ends the process (confine.c). The kernel answers rules without comparisons from a bitmap
 * (Linux 5.11), so only those with comparisons run as a program.
 *
 * A ring of io_uring is not seen here: base/loop.c restricts its operations.
 */
#include "runtime/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/compiler.h"

#define ALLOW(name)                                                                                \
	{                                                                                          \
		.nr = SYS_##name                                                                   \
	}
#define ERRNO(name, e)                                                                             \
	{                                                                                          \
		.nr = SYS_##name, .err = (e)                                                       \
	}
#define ARG(n, v)                                                                                  \
	{                                                                                          \
		.arg = (n), .mask = ~0u, .val = (unsigned)(v)                                      \
	}
#define BITS(n, m, v)                                                                              \
	{                                                                                          \
		.arg = (n), .mask = (unsigned)(m), .val = (unsigned)(v)                            \
	}
#define OUR_PID(n)                                                                                 \
	{                                                                                          \
		.arg = (n), .kind = CONFINE_CMP_PID, .mask = ~0u                                   \
	}
#define RTSIG(n, v)                                                                                \
	{                                                                                          \
		.arg = (n), .kind = CONFINE_CMP_RTSIG, .mask = ~0u, .val = (v)                     \
	}
#define IF(name, c)                                                                                \
	{                                                                                          \
		.nr = SYS_##name, .cnt = 1, .cmp = { c }                                           \
	}
#define IF2(name, c, d)                                                                            \
	{                                                                                          \
		.nr = SYS_##name, .cnt = 2, .cmp = { c, d }                                        \
	}

/* What pthread_create() asks for: a thread of this process, in the same namespaces. */
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define ANOTHER                                                                                    \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE | CLONE_PARENT | CLONE_VFORK)

/* ---- every thread ------------------------------------------------------------------------------ */

static const struct confine_rule all_rules[] = {
    ALLOW(futex),			 /* locks and conditions */
    ALLOW(write),			 /* eventfds, the log, streams */
    ALLOW(close),			 /* of what the thread has opened or was handed */
    ALLOW(rt_sigreturn),		 /* out of a signal handler */
    ALLOW(rt_sigprocmask),		 /* start and end of threads, aborting */
    ALLOW(restart_syscall),		 /* the kernel's own, after a stop and a continue */
    ALLOW(exit),			 /* end of a thread */
    ALLOW(exit_group),			 /* end of the process */
    IF(mmap, BITS(2, PROT_EXEC, 0)),	 /* malloc, stacks, guest memory; never code */
    IF(mprotect, BITS(2, PROT_EXEC, 0)), /* malloc, guard pages of stacks; never code */
    ALLOW(munmap),			 /* the same */
    ALLOW(mremap),			 /* realloc of something large; keeps its protection */
    ALLOW(madvise),			 /* free(), the stack of a thread that ends */
    ALLOW(brk),				 /* malloc */
    ALLOW(getrandom),			 /* malloc's tag, entropy for guests, secrets of clients */
    ALLOW(clock_gettime),		 /* where the vDSO cannot tell */
    ALLOW(gettimeofday),		 /* the same */
    ALLOW(getpid),			 /* names of temporary files, aborting */
    ALLOW(gettid),			 /* aborting */
    IF2(tgkill, OUR_PID(0), ARG(2, SIGABRT)), /* aborting: a broken invariant */
    IF2(tgkill, OUR_PID(0), RTSIG(2, 6)),     /* VCPU_SIGNAL: gets a vCPU out of the guest */
    ALLOW(writev),			      /* last words of the C library */
    IF(prctl, ARG(0, PR_SET_NAME)),	      /* names of threads */
    ALLOW(set_robust_list),		      /* start of a thread */
    ALLOW(rseq),			      /* the same */
#ifdef __SANITIZE_ADDRESS__
    ALLOW(sigaltstack),	      /* the sanitizer's stacks */
    ALLOW(sched_getaffinity), /* its threads */
#endif
};

/* ---- vCPU threads ------------------------------------------------------------------------------- */

static const struct confine_rule vcpu_rules[] = {
    IF(ioctl, ARG(1, KVM_RUN)),		    /* into the guest */
    IF(ioctl, ARG(1, KVM_SIGNAL_MSI)),	    /* a pin that the guest's write unmasks */
    IF(ioctl, ARG(1, KVM_SET_GSI_ROUTING)), /* which vectors' EOI to tell */
    IF(ioctl, ARG(1, KVM_GET_MP_STATE)),    /* vmm/halt.c: has it halted for good? */
    IF(ioctl, ARG(1, KVM_GET_REGS)),
    IF(ioctl, ARG(1, KVM_GET_VCPU_EVENTS)),
    IF(ioctl, ARG(1, KVM_KVMCLOCK_CTRL)), /* vmm/pause.c: tells the guest that it stood still */
};

/* ---- file workers ------------------------------------------------------------------------------- */

static const struct confine_rule files_rules[] = {
    /* Finding. */
    ALLOW(openat2),    /* every path, below the container's root */
    ALLOW(openat),     /* open files again, through procfs */
    ALLOW(newfstatat), /* attributes */
    ALLOW(fstat), ALLOW(statx), ALLOW(fstatfs), ALLOW(readlinkat), ALLOW(getdents64),
    ALLOW(lseek),			/* position in a directory */
    IF(fcntl, ARG(1, F_DUPFD_CLOEXEC)), /* another hold on a file */
    IF(fcntl, ARG(1, F_GETFL)),
    /* Data that the ring does not take. */
    ALLOW(pread64), ALLOW(pwrite64), ALLOW(preadv), ALLOW(pwritev), ALLOW(preadv2), ALLOW(pwritev2),
    ALLOW(read), ALLOW(readv), ALLOW(fsync), ALLOW(fdatasync), ALLOW(fallocate), ALLOW(ftruncate),
    /* Making, changing, removing. */
    ALLOW(mkdirat), ALLOW(mknodat), ALLOW(symlinkat), ALLOW(linkat), ALLOW(renameat),
    ALLOW(renameat2), ALLOW(unlinkat), ALLOW(fchownat), ALLOW(fchmodat), ALLOW(utimensat),
    /* Extended attributes, by paths in procfs below the working directory. */
    ALLOW(getxattr), ALLOW(listxattr), ALLOW(setxattr), ALLOW(removexattr), ALLOW(fchdir),
    /* Identity: of this thread alone, and within what it has. */
    ALLOW(setfsuid), ALLOW(setfsgid), ALLOW(capget), ALLOW(capset),
    IF(setgroups, ARG(0, 0)),		    /* none */
    IF(unshare, ARG(0, CLONE_FS)),	    /* its own umask and working directory */
    ALLOW(umask), IF(prlimit64, ARG(0, 0)), /* how many files may be open: our own */
    /* One more worker. clone3 hides its flags in memory: the C library goes on to clone. */
    ERRNO(clone3, ENOSYS), IF(clone, BITS(0, THREAD | ANOTHER, THREAD)),
    ERRNO(seccomp, EALREADY), /* it asks for what it has inherited */
};

/* ---- the loop ----------------------------------------------------------------------------------- */

static const struct confine_rule loop_rules[] = {
    ALLOW(io_uring_enter), /* waits and hands over; the ring has its own list */
    IF(io_uring_register, ARG(1, IORING_REGISTER_FILES_UPDATE)), /* a disk's image, by number */
    /* The VM: devices plugged late, interrupts. */
    IF(ioctl, ARG(1, KVM_SIGNAL_MSI)),		      /* a device's interrupt */
    IF(ioctl, ARG(1, KVM_SET_GSI_ROUTING)),	      /* the state of a pin */
    IF(ioctl, ARG(1, KVM_IOEVENTFD)),		      /* notifications of a device plugged late */
    IF(ioctl, ARG(1, KVM_REGISTER_COALESCED_MMIO)),   /* acknowledgements of its interrupts */
    IF(ioctl, ARG(1, KVM_UNREGISTER_COALESCED_MMIO)), /* when it goes */
    IF(ioctl, ARG(1, TUNGETIFF)),		      /* a NIC plugged late: what its tap is, */
    IF(ioctl, ARG(1, TUNSETVNETHDRSZ)),		      /* its header, */
    IF(ioctl, ARG(1, TUNSETOFFLOAD)),		      /* what its driver can take, */
    IF(ioctl, ARG(1, TUNSETQUEUE)), /* and how many of its queues the driver uses */
    IF(ioctl, ARG(1, TIOCGWINSZ)),  /* the container's terminal was resized */
    /*
     * vmm/watch.c: a guest that shows no sign of life makes a thread that tries a guest of our
     * own, to tell whether KVM is whole. It inherits this filter.
     */
    IF(ioctl, ARG(1, KVM_RUN)), IF(ioctl, ARG(1, KVM_GET_API_VERSION)),
    IF(ioctl, ARG(1, KVM_CHECK_EXTENSION)), IF(ioctl, ARG(1, KVM_GET_VCPU_MMAP_SIZE)),
    IF(ioctl, ARG(1, KVM_GET_SUPPORTED_CPUID)), IF(ioctl, ARG(1, KVM_CREATE_VM)),
    IF(ioctl, ARG(1, KVM_SET_TSS_ADDR)), IF(ioctl, ARG(1, KVM_ENABLE_CAP)),
    IF(ioctl, ARG(1, KVM_SET_USER_MEMORY_REGION)), IF(ioctl, ARG(1, KVM_CREATE_VCPU)),
    IF(ioctl, ARG(1, KVM_SET_CPUID2)), IF(ioctl, ARG(1, KVM_GET_SREGS)),
    IF(ioctl, ARG(1, KVM_SET_SREGS)), IF(ioctl, ARG(1, KVM_SET_REGS)),
    IF(ioctl, ARG(1, KVM_GET_LAPIC)), IF(ioctl, ARG(1, KVM_SET_LAPIC)),
    IF(ioctl, ARG(1, KVM_SET_MP_STATE)), IF(ioctl, ARG(1, KVM_SET_VCPU_EVENTS)),
    IF(ioctl, ARG(1, KVM_GET_TSC_KHZ)), ALLOW(timer_create), /* its watchdog */
    ALLOW(timer_settime), ALLOW(timer_delete),
    IF(rt_sigaction, RTSIG(0, 7)), /* CHECK_SIGNAL, the watchdog's */
    ERRNO(clone3, ENOSYS),	   /* its thread; see the file workers */
    IF(clone, BITS(0, THREAD | ANOTHER, THREAD)),
    /* Streams and clients, where they need no waiting. */
    ALLOW(read), ALLOW(readv), ALLOW(recvfrom), ALLOW(recvmsg), ALLOW(sendto), ALLOW(sendmsg),
    ALLOW(getsockname),				   /* what a forwarded connection has dialled */
    ALLOW(shutdown), ALLOW(poll), ALLOW(eventfd2), /* of a device plugged late */
    /* state.json, replaced as a whole; a container that was never committed removes its state. */
    ALLOW(openat), /* also: an engine's stream again, non-blocking, through procfs */
    ALLOW(newfstatat), ALLOW(fstat), ALLOW(getdents64), ALLOW(lseek), ALLOW(fsync), ALLOW(renameat),
    ALLOW(unlinkat),
    /* Descriptors. */
    IF(fcntl, ARG(1, F_DUPFD_CLOEXEC)), IF(fcntl, ARG(1, F_GETFL)), /* a directory that is read */
    IF(fcntl, ARG(1, F_OFD_SETLK)), IF(fcntl, ARG(1, F_OFD_GETLK)), /* the guest's locks */
    IF(fcntl, ARG(1, F_SETFL)), IF(fcntl, ARG(1, F_GETFD)), IF(fcntl, ARG(1, F_SETFD)),
    IF(prlimit64, ARG(0, 0)), /* how many files a tree may hold open: our own */
};

/* ---- stand-ins of execs: processes of their own ------------------------------------------------- */

static const struct confine_rule standin_rules[] = {
    ALLOW(poll),		   /* waits for the connection and for signals */
    ALLOW(restart_syscall),	   /* of poll, after a stop */
    ALLOW(read),		   /* both */
    ALLOW(sendto),		   /* signals and sizes, to the sandbox process */
    IF(ioctl, ARG(1, TIOCGWINSZ)), /* its terminal's size */
    ALLOW(exit_group),
};

/* ---- the network watcher ------------------------------------------------------------------------ */

static const struct confine_rule net_rules[] = {
    ALLOW(poll), /* for events, for the loop's bell */
    ALLOW(read), /* the bell */
    /* rtnetlink, on sockets that are there. */
    ALLOW(sendmsg), ALLOW(sendto), ALLOW(recvmsg), ALLOW(recvfrom),
    /* Does the container's resolv.conf name Docker's server? A plain file only. */
    ALLOW(newfstatat), ALLOW(fstat),
    /* A question to Docker's name server by TCP (netdns.c). */
    IF2(socket, ARG(0, AF_INET), BITS(1, ~(SOCK_CLOEXEC | SOCK_NONBLOCK), SOCK_STREAM)),
    ALLOW(connect),
    /* Another tap: /dev/net/tun again, through procfs. Nothing is made. */
    IF(openat, BITS(2, O_CREAT, 0)), IF(ioctl, ARG(1, TUNSETIFF)),
    IF(ioctl, ARG(1, SIOCGIFHWADDR)), /* whose a macvtap's node is */
};

#define RULES(w, r)                                                                                \
	{                                                                                          \
		.what = (w), .rule = (r), .cnt = ARRAY_LEN(r)                                      \
	}
const struct confine_rules confine_rules[CONFINE_ROLES] = {
    [CONFINE_LOOP] = RULES("loop", loop_rules),
    [CONFINE_VCPU] = RULES("vCPU", vcpu_rules),
    [CONFINE_FILES] = RULES("file worker", files_rules),
    [CONFINE_NET] = RULES("network", net_rules),
    [CONFINE_STANDIN] = RULES("stand-in", standin_rules),
};
const struct confine_rules confine_rules_all = RULES("all", all_rules);
