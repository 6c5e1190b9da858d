/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about host and guest files. See facts.h. */
#include "runtime/facts.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/assets.h"
#include "runtime/cgpath.h"
#include "runtime/scope.h"
#include "runtime/sizing.h"

#define EROFS_MAGIC_AT 1024u
#define EROFS_MAGIC    0xe0f5e1e2u
#define BZ_MAGIC_AT    0x202u /* Documentation/x86/boot.rst: "HdrS" */
#define BZ_VERSION_AT  0x20eu /* kernel_version, less 0x200 */
#define FILE_MAX       (4u << 20)

static uint32_t le_at(const unsigned char *p, size_t bytes)
{
	uint32_t v = 0;

	memcpy(&v, p, bytes);
	return le32toh(v);
}

static void hash_text(const void *p, size_t len, char *hex)
{
	uint8_t sum[SHA256_DIGEST_LENGTH];
	SHA2_CTX c;

	SHA256Init(&c);
	SHA256Update(&c, p, len);
	SHA256Final(sum, &c);
	for (size_t i = 0; i < sizeof(sum); i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

/* ---- guest files ----------------------------------------------------------------------------- */

/* The word that begins at @p, of what a release's name has. */
static bool copy_release(const unsigned char *p, size_t len, char *buf, size_t cap)
{
	size_t n = 0;

	while (n < len && n + 1 < cap && p[n] > ' ' && p[n] < 0x7f)
		n++;
	if (!n || p[0] < '0' || p[0] > '9')
		return false;
	(void)snprintf(buf, cap, "%.*s", (int)n, (const char *)p);
	return true;
}

bool facts_kernel_version(const unsigned char *p, size_t len, char *buf, size_t cap)
{
	static const char banner[] = "Linux version ";
	const size_t n = sizeof(banner) - 1;

	if (len > BZ_VERSION_AT + 2 && !memcmp(p + BZ_MAGIC_AT, "HdrS", 4)) {
		size_t at = le_at(p + BZ_VERSION_AT, 2) + 0x200u;

		return at < len && copy_release(p + at, len - at, buf, cap);
	}
	for (const unsigned char *at = p; len > n;) {
		const unsigned char *hit = memmem(at, len, banner, n);

		if (!hit)
			return false;
		len -= (size_t)(hit - at) + n;
		at = hit + n;
		if (copy_release(at, len, buf, cap))
			return true;
	}
	return false;
}

/* Maps @fd and judges it; the descriptor stays open. */
static int look_into(int fd, const char *path, bool kernel, bool hash, struct facts_file *f,
		     struct err *e)
{
	const unsigned char *p;
	struct stat st;
	bool good;

	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, "'%.500s'", path);
	f->size = st.st_size;
	if (!S_ISREG(st.st_mode) || st.st_size < 4096)
		return err_set(e, -EINVAL, "'%.500s': not a file of a %s", path,
			       kernel ? "kernel" : "file system");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, -errno, "'%.500s'", path);
	if (kernel) {
		good = !memcmp(p, "\177ELF", 4) || !memcmp(p + BZ_MAGIC_AT, "HdrS", 4);
		(void)facts_kernel_version(p, (size_t)st.st_size, f->version, sizeof(f->version));
	} else {
		good = le_at(p + EROFS_MAGIC_AT, 4) == EROFS_MAGIC;
	}
	if (hash)
		hash_text(p, (size_t)st.st_size, f->sha256);
	(void)munmap((void *)(uintptr_t)p, (size_t)st.st_size);
	return good ? 0
		    : err_set(e, -EINVAL, "'%.500s': not %s", path,
			      kernel ? "an ELF file or bzImage" : "an erofs file system");
}

int facts_guest_files(const struct cli_global *g, const struct config *conf, bool hash,
		      struct facts_file *kernel, struct facts_file *image, struct err *e)
{
	struct assets_want want = {.dir = g->assets,
				   .kernel = conf && !g->assets ? conf->kernel : NULL,
				   .image = conf && !g->assets ? conf->image : NULL};
	auto_free struct assets *a = calloc(1, sizeof(*a));
	int rc;

	memset(kernel, 0, sizeof(*kernel));
	memset(image, 0, sizeof(*image));
	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	rc = assets_open(&want, a, e);
	if (rc < 0)
		return rc;
	rc = look_into(a->kernel_fd, a->kernel, true, hash, kernel, e);
	if (rc == 0)
		rc = look_into(a->image_fd, a->image, false, hash, image, e);
	(void)close(a->kernel_fd);
	(void)close(a->image_fd);
	return rc;
}

/* ---- host ------------------------------------------------------------------------------------ */

/* The value of "@key : value" of the first CPU, or of KEY="value" of os-release. */
static void line_value(const char *text, const char *key, char sep, char *buf, size_t cap)
{
	size_t n = strlen(key);

	buf[0] = '\0';
	for (const char *p = text; *p;) {
		size_t line = strcspn(p, "\n");
		const char *v = memchr(p, sep, line);

		if (line > n && !strncmp(p, key, n) && v &&
		    strspn(p + n, " \t") == (size_t)(v - p) - n) {
			v++;
			v += strspn(v, " \t\"");
			line -= (size_t)(v - p);
			while (line && v[line - 1] == '"')
				line--;
			(void)snprintf(buf, cap, "%.*s", (int)line, v);
			return;
		}
		p += line + (p[line] == '\n');
	}
}

static void add_value(struct json_object *o, const char *key, const char *text, const char *name,
		      char sep)
{
	char buf[256];

	line_value(text, name, sep, buf, sizeof(buf));
	json_add_str(o, key, buf[0] ? buf : NULL);
}

static struct json_object *cpu_facts(const char *text, const struct sizing_host *h)
{
	struct json_object *cpu = json_object_new_object();

	add_value(cpu, "vendor", text, "vendor_id", ':');
	add_value(cpu, "model", text, "model name", ':');
	add_value(cpu, "family", text, "cpu family", ':');
	add_value(cpu, "number", text, "model", ':');
	add_value(cpu, "stepping", text, "stepping", ':');
	add_value(cpu, "microcode", text, "microcode", ':');
	json_add_i64(cpu, "online", h->cpus);
	return cpu;
}

static struct cgpath_host *host_cgroups(void)
{
	struct cgpath_host *h = calloc(1, sizeof(*h));
	auto_free char *mounts = NULL;

	if (h && fd_read_file(AT_FDCWD, "/proc/self/mountinfo", 0, &mounts, NULL) == 0)
		cgpath_host_parse(h, mounts, "");
	return h;
}

unsigned facts_cgroup(char *buf, size_t len)
{
	auto_free struct cgpath_host *h = host_cgroups();
	auto_free char *text = NULL;
	size_t n = 0;

	buf[0] = '\0';
	if (!h || !h->version)
		return 0;
	for (unsigned i = 0; i < h->cnt && n < len; i++) {
		if (h->m[i].controllers[0]) {
			n += (size_t)snprintf(buf + n, len - n, "%s%s", n ? " " : "",
					      h->m[i].controllers);
		} else if (h->version == 2) {
			auto_fd dir = open(h->m[i].point, O_PATH | O_DIRECTORY | O_CLOEXEC);

			if (fd_read_file(dir, "cgroup.controllers", 4096, &text, NULL) == 0) {
				text[strcspn(text, "\n")] = '\0';
				n += (size_t)snprintf(buf + n, len - n, "%s%s", n ? " " : "", text);
			}
		}
	}
	return h->version;
}

struct json_object *facts_host(void)
{
	struct json_object *o = json_object_new_object(), *os = json_object_new_object(), *cpu, *cg;
	auto_free char *cpuinfo = NULL;
	auto_free char *release = NULL;
	struct sizing_host h;
	struct utsname u = {0};
	char text[1024], hash[FACTS_HASH_LEN];

	(void)uname(&u);
	sizing_of_host(&h);
	json_add_str(o, "kernel", u.release);
	json_add_str(o, "machine", u.machine);
	if (fd_read_file(AT_FDCWD, "/proc/cpuinfo", FILE_MAX, &cpuinfo, NULL) < 0)
		cpuinfo = NULL;
	cpu = cpu_facts(cpuinfo ? cpuinfo : "", &h);
	json_add_i64(o, "memory", (int64_t)h.memory);
	if (fd_read_file(AT_FDCWD, "/etc/os-release", FILE_MAX, &release, NULL) == 0) {
		add_value(os, "name", release, "NAME", '=');
		add_value(os, "version", release, "VERSION_ID", '=');
	}
	(void)json_object_object_add(o, "distribution", os);
	(void)json_object_object_add(o, "cpu", cpu);
	cg = json_object_new_object();
	json_add_i64(cg, "version", facts_cgroup(text, sizeof(text)));
	json_add_str(cg, "controllers", text);
	json_add_bool(cg, "systemd", scope_possible());
	(void)json_object_object_add(o, "cgroup", cg);
	/* What decides whether a guest's saved state could go on elsewhere. */
	(void)snprintf(text, sizeof(text), "%.100s|%.100s|%.700s", u.release, u.machine,
		       json_object_to_json_string_ext(cpu, JSON_C_TO_STRING_PLAIN));
	hash_text(text, strlen(text), hash);
	hash[16] = '\0';
	json_add_str(o, "fingerprint", hash);
	return o;
}

/* Does a line of @path have the module, as "/name.ko" or as a first word? */
static bool listed(const char *path, const char *name, bool files, bool *ret_known)
{
	auto_free char *text = NULL;
	size_t n = strlen(name);

	if (fd_read_file(AT_FDCWD, path, 64u << 20, &text, NULL) < 0)
		return false;
	*ret_known = true;
	for (const char *p = text; (p = strstr(p, name)); p += n)
		if (files ? p > text && p[-1] == '/' && !strncmp(p + n, ".ko", 3)
			  : (p == text || p[-1] == '\n') && p[n] == ' ')
			return true;
	return false;
}

enum facts_module facts_module(const char *name)
{
	struct utsname u;
	char path[256];
	bool known = false, loaded = false;

	if (uname(&u) < 0)
		return FACTS_MODULE_UNKNOWN;
	if (listed("/proc/modules", name, false, &loaded))
		return FACTS_MODULE_THERE;
	(void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", u.release);
	if (listed(path, name, true, &known))
		return FACTS_MODULE_THERE;
	(void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", u.release);
	if (listed(path, name, true, &known))
		return FACTS_MODULE_THERE;
	return known ? FACTS_MODULE_MISSING : FACTS_MODULE_UNKNOWN;
}
