/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers of `vmm bench boot`. See bench_peer.h. Their command lines are those that their own
 * manuals give for a machine with as little in it as ours has.
 */
#include "vmm/bench_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/* In front of the user's words: where init speaks, how it ends, and no looking for what is not
 * there. */
#define APPEND_COMMON  "panic=-1 tsc=reliable no_timer_check"
#define APPEND_SERIAL  "console=ttyS0 " APPEND_COMMON
#define APPEND_VIRTCON "console=hvc0 8250.nr_uarts=0 " APPEND_COMMON

static int add_words(char ***argv, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int add_words(char ***argv, const char *fmt, ...)
{
	auto_free char *word = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&word, fmt, ap);
	va_end(ap);
	if (n < 0) {
		word = NULL;
		return -ENOMEM;
	}
	return bench_words(argv, word, NULL);
}

static uint64_t mib(const struct bench_guest *g)
{
	return g->memory >> 20;
}

/* ---- QEMU's microvm --------------------------------------------------------------------------- */

static int add_qemu(struct bench_subject *s, const struct bench_guest *g, const char *dir)
{
	char ***a = &s->step[0];
	int rc = bench_words(
	    a, "qemu-system-x86_64", "-M",
	    g->serial ? "microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=on"
		      : "microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=off",
	    "-cpu", "host", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
	    "-kernel", g->kernel, NULL);

	(void)dir;
	if (rc == 0)
		rc = add_words(a, "-m");
	if (rc == 0)
		rc = add_words(a, "%" PRIu64 "M", mib(g));
	if (rc == 0)
		rc = add_words(a, "-smp");
	if (rc == 0)
		rc = add_words(a, "%u", g->cpus);
	if (rc == 0 && g->initrd)
		rc = bench_words(a, "-initrd", g->initrd, NULL);
	if (rc == 0 && g->serial)
		rc = bench_words(a, "-serial", "stdio", NULL);
	if (rc == 0 && !g->serial)
		rc = bench_words(a, "-device", "virtio-serial-device,max_ports=1", "-chardev",
				 "stdio,id=c", "-device", "virtconsole,chardev=c", NULL);
	if (rc == 0)
		rc = add_words(a, "-append");
	if (rc == 0)
		rc = add_words(a, "%s reboot=t %s", g->serial ? APPEND_SERIAL : APPEND_VIRTCON,
			       g->append);
	return rc;
}

/* ---- Firecracker ------------------------------------------------------------------------------ */

char *bench_peer_firecracker_config(const struct bench_guest *g)
{
	struct json_object *o = json_object_new_object(), *boot = json_object_new_object();
	struct json_object *machine = json_object_new_object();
	auto_free char *args = NULL;
	char *ret = NULL;

	if (asprintf(&args, APPEND_SERIAL " pci=off reboot=k %s", g->append) < 0)
		args = NULL;
	if (args && o && boot && machine) {
		(void)json_object_object_add(boot, "kernel_image_path",
					     json_object_new_string(g->kernel));
		if (g->initrd)
			(void)json_object_object_add(boot, "initrd_path",
						     json_object_new_string(g->initrd));
		(void)json_object_object_add(boot, "boot_args", json_object_new_string(args));
		(void)json_object_object_add(machine, "vcpu_count", json_object_new_int64(g->cpus));
		(void)json_object_object_add(machine, "mem_size_mib",
					     json_object_new_int64((int64_t)mib(g)));
		(void)json_object_object_add(o, "boot-source", json_object_get(boot));
		(void)json_object_object_add(o, "machine-config", json_object_get(machine));
		(void)json_object_object_add(o, "drives", json_object_new_array());
		ret = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	}
	json_object_put(boot);
	json_object_put(machine);
	json_object_put(o);
	return ret;
}

static int add_firecracker(struct bench_subject *s, const struct bench_guest *g, const char *dir)
{
	auto_free char *config = bench_peer_firecracker_config(g);
	auto_free char *path = NULL;
	int rc;

	if (!config || asprintf(&path, "%s/firecracker.json", dir) < 0)
		return -ENOMEM;
	rc = fd_write_file(AT_FDCWD, path, config, strlen(config), 0600);
	if (rc < 0)
		return rc;
	s->tells = BENCH_TELLS_FIRECRACKER;
	return bench_words(&s->step[0], "firecracker", "--no-api", "--config-file", path,
			   "--boot-timer", "--level", "Info", NULL);
}

/* ---- Cloud Hypervisor -------------------------------------------------------------------------- */

static int add_cloud(struct bench_subject *s, const struct bench_guest *g, const char *dir)
{
	char ***a = &s->step[0];
	int rc = bench_words(a, "cloud-hypervisor", "-v", "--kernel", g->kernel, "--serial",
			     g->serial ? "tty" : "off", "--console", g->serial ? "off" : "tty",
			     "--cpus", NULL);

	(void)dir;
	s->tells = BENCH_TELLS_CLOUD;
	if (rc == 0)
		rc = add_words(a, "boot=%u", g->cpus);
	if (rc == 0)
		rc = bench_words(a, "--memory", NULL);
	if (rc == 0)
		rc = add_words(a, "size=%" PRIu64 "M", mib(g));
	if (rc == 0 && g->initrd)
		rc = bench_words(a, "--initramfs", g->initrd, NULL);
	if (rc == 0)
		rc = bench_words(a, "--cmdline", NULL);
	if (rc == 0)
		rc = add_words(a, "%s reboot=k %s", g->serial ? APPEND_SERIAL : APPEND_VIRTCON,
			       g->append);
	return rc;
}

/* ---- kvmtool ----------------------------------------------------------------------------------- */

static int add_kvmtool(struct bench_subject *s, const struct bench_guest *g, const char *dir)
{
	char ***a = &s->step[0];
	int rc = bench_words(a, access("/usr/bin/lkvm", X_OK) == 0 ? "lkvm" : "kvmtool", "run",
			     "--kernel", g->kernel, "--console", g->serial ? "serial" : "virtio",
			     "--network", "mode=none", NULL);

	(void)dir;
	if (rc == 0)
		rc = add_words(a, "--mem=%" PRIu64, mib(g));
	if (rc == 0)
		rc = add_words(a, "--cpus=%u", g->cpus);
	if (rc == 0 && g->initrd)
		rc = bench_words(a, "--initrd", g->initrd, NULL);
	if (rc == 0)
		rc = bench_words(a, "--params", NULL);
	if (rc == 0)
		rc = add_words(a, "%s reboot=k %s", g->serial ? APPEND_SERIAL : APPEND_VIRTCON,
			       g->append);
	return rc;
}

/* ---- any command -------------------------------------------------------------------------------- */

static int add_filled(char ***argv, const char *word, const struct bench_guest *g)
{
	char memory[24], cpus[12];
	const struct {
		const char *name, *value;
	} fields[] = {{"{kernel}", g->kernel},
		      {"{initrd}", g->initrd ? g->initrd : ""},
		      {"{memory}", memory},
		      {"{cpus}", cpus},
		      {"{append}", g->append}};
	auto_free char *w = strdup(word);

	(void)snprintf(memory, sizeof(memory), "%" PRIu64, mib(g));
	(void)snprintf(cpus, sizeof(cpus), "%u", g->cpus);
	for (size_t i = 0; w && i < ARRAY_LEN(fields); i++) {
		char *at = strstr(w, fields[i].name), *filled;

		if (!at)
			continue;
		if (asprintf(&filled, "%.*s%s%s", (int)(at - w), w, fields[i].value,
			     at + strlen(fields[i].name)) < 0)
			return -ENOMEM;
		free(w);
		w = filled;
	}
	return w ? bench_words(argv, w, NULL) : -ENOMEM;
}

static int add_command(struct bench_subject *s, const char *command, const struct bench_guest *g)
{
	auto_free char *copy = strdup(command);
	char *save = NULL;
	int rc = copy ? 0 : -ENOMEM;

	for (char *w = copy ? strtok_r(copy, " \t", &save) : NULL; w && rc == 0;
	     w = strtok_r(NULL, " \t", &save))
		rc = add_filled(&s->step[0], w, g);
	return rc;
}

static const struct {
	const char *name;
	int (*add)(struct bench_subject *s, const struct bench_guest *g, const char *dir);
} peers[] = {
    {"qemu", add_qemu},
    {"firecracker", add_firecracker},
    {"cloud-hypervisor", add_cloud},
    {"kvmtool", add_kvmtool},
};

int bench_peer_add(struct bench_plan *p, const char *peer, const struct bench_guest *g,
		   const char *dir, struct err *e)
{
	const char *command = strchr(peer, '=');
	auto_free char *name = strndup(peer, command ? (size_t)(command - peer) : strlen(peer));
	struct bench_subject *s = name ? bench_add(p, name, e) : NULL;
	int rc = -EINVAL;

	if (!s)
		return e->code ? e->code : err_set(e, -ENOMEM, "out of memory");
	s->steps = 1;
	s->stop = SIGKILL;
	s->ram = g->memory;
	s->optional = !command;
	if (command)
		rc = add_command(s, command + 1, g);
	for (size_t i = 0; !command && i < ARRAY_LEN(peers); i++)
		if (!strcmp(peer, peers[i].name))
			rc = peers[i].add(s, g, dir);
	if (rc == -EINVAL || (rc == 0 && !s->step[0]))
		return err_set(e, -EINVAL,
			       "--peer '%s': neither qemu, firecracker, cloud-hypervisor, kvmtool "
			       "nor NAME=COMMAND",
			       peer);
	return rc < 0 ? err_sys(e, rc, "--peer '%s'", name) : 0;
}
