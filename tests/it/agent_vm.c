/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM in the place of the agent, for agent_driver: boots KERNEL with the mini OS image, joins the
 * two ports to two sockets, and puts a 9p device (tag "husk.root") for SHARE into a slot that was
 * empty at boot. Says on stderr what the device is called.
 *
 *   agent_vm KERNEL IMAGE SHARE --ctl-fd N --io-fd N
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "virtio/devices.h"
#include "virtio/p9.h"
#include "vmm/machine.h"

struct bridge {
	int fd;
	unsigned port;
	struct loop_op op;
	char in[65536];
	size_t off, len;
};

static struct vm {
	struct loop *loop;
	struct machine *m;
	struct virtio_dev *con;
	struct bridge b[3];
	int ended;
} vm;

static NORETURN void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "agent_vm: %s: %s\n", what, why);
	exit(1);
}

/* The driver at the other end reads all the time: blocking writes are good enough here. */
static size_t output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct bridge *b = ctx;

	for (unsigned i = 0; i < cnt; i++)
		if (fd_write_full(b->fd, iov[i].iov_base, iov[i].iov_len) < 0)
			loop_stop(vm.loop);
	return len;
}

static void pump(struct bridge *b)
{
	if (b->off < b->len)
		b->off += vcon_send(vm.con, b->port, b->in + b->off, b->len - b->off);
	if (b->off == b->len && !b->op.busy && b->port)
		loop_read(vm.loop, &b->op, b->fd, b->in, sizeof(b->in), LOOP_NO_OFF);
}

static void room(void *ctx)
{
	pump(ctx);
}

static void got(struct loop_op *op, int res, unsigned flags)
{
	struct bridge *b = container_of(op, struct bridge, op);

	(void)flags;
	if (res <= 0) {
		loop_stop(vm.loop);
		return;
	}
	b->off = 0;
	b->len = (size_t)res;
	pump(b);
}

static void ended(void *ctx, enum machine_end why, int status, const char *msg)
{
	(void)ctx;
	(void)status;
	(void)fprintf(stderr, "agent_vm: the guest ended: %d %s\n", (int)why, msg ? msg : "");
	vm.ended = why == MACHINE_POWEROFF ? 0 : 1;
	loop_stop(vm.loop);
}

static const struct vcon_port_ops ops = {.output = output, .input_room = room};

int main(int argc, char **argv)
{
	struct err e = {0};
	struct vcon_port_config ports[3] = {{.console = true, .ops = &ops, .ctx = &vm.b[0]},
					    {.name = "husk.ctl", .ops = &ops, .ctx = &vm.b[1]},
					    {.name = "husk.io", .ops = &ops, .ctx = &vm.b[2]}};
	struct machine_config cfg = {.initrd_fd = -1,
				     .cmdline =
					 "console=hvc0 quiet root=/dev/pmem0 rootfstype=erofs "
					 "rootflags=dax ro init=/sbin/init",
				     .cpus = 2,
				     .memory = 256u << 20,
				     .spare_slots = 2,
				     .ended = ended};
	struct p9_config p9 = {.proc_fd = -1, .tag = "husk.root"};
	struct virtio_dev *dev;
	unsigned slot;

	if (argc != 8)
		die("usage", "agent_vm KERNEL IMAGE SHARE --ctl-fd N --io-fd N");
	cfg.kernel_name = argv[1];
	cfg.kernel_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	p9.root_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	vm.b[0] = (struct bridge){.fd = 2};
	vm.b[1] =
	    (struct bridge){.fd = atoi(argv[5]), .port = 1, .op = {.done = got, .what = "ctl"}};
	vm.b[2] =
	    (struct bridge){.fd = atoi(argv[7]), .port = 2, .op = {.done = got, .what = "io"}};
	if (loop_new(&vm.loop, 64, &e) < 0 || machine_new(&vm.m, &cfg, vm.loop, &e) < 0)
		die("machine", e.msg);
	if (machine_pmem(vm.m, open(argv[2], O_RDONLY | O_CLOEXEC), argv[2], true, &e) < 0 ||
	    vcon_new(&vm.con, "console0", ports, 3, &e) < 0 ||
	    machine_plug(vm.m, vm.con, NULL, &e) < 0 || machine_start(vm.m, &e) < 0)
		die("machine", e.msg);
	if (p9_new(&dev, "root0", &p9, &e) < 0 || machine_plug(vm.m, dev, &slot, &e) < 0)
		die("root", e.msg);
	(void)fprintf(stderr, "agent_vm: root is %llx.virtio_mmio\n",
		      (unsigned long long)machine_slot_gpa(vm.m, slot));
	pump(&vm.b[1]);
	pump(&vm.b[2]);
	if (loop_run(vm.loop) < 0)
		die("loop", "failed");
	machine_free(vm.m);
	loop_free(vm.loop);
	return vm.ended;
}
