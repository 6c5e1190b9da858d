/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subjects of a benchmark tell of themselves, and what the kernel tells of their memory.
 * See bench.h. Text of other programs: anything may be in it, and what is not understood is left.
 */
#include "vmm/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* How much larger than the guest's memory its mapping may be: an alignment. */
#define RAM_SLACK (8ull << 20)

/* ---- our own report: absolute times of the same clock ---------------------------------------- */

static void take_phases(struct json_object *o, uint64_t t0, struct bench_run *r)
{
	for (unsigned i = 0; i < PHASE_COUNT; i++) {
		struct json_object *v;
		int64_t ns;

		if (!json_object_object_get_ex(o, bench_mark_key(i), &v))
			continue;
		ns = json_object_get_int64(v);
		if (ns > (int64_t)t0)
			r->at[i] = (uint64_t)ns - t0;
	}
}

static void take_counts(struct json_object *o, unsigned from, unsigned to, struct bench_run *r)
{
	for (unsigned i = from; i < to; i++) {
		struct json_object *v;

		if (json_object_object_get_ex(o, bench_count_key(i), &v))
			r->count[i] = (uint64_t)json_object_get_int64(v);
	}
}

static void parse_report(const char *text, uint64_t t0, struct bench_run *r)
{
	const char *at = strstr(text, "{\"phases_ns\"");
	struct json_tokener *tok = at ? json_tokener_new() : NULL;
	struct json_object *o, *v;

	if (!tok)
		return;
	o = json_tokener_parse_ex(tok, at, -1);
	if (o && json_object_object_get_ex(o, "phases_ns", &v))
		take_phases(v, t0, r);
	if (o && json_object_object_get_ex(o, "exits", &v))
		take_counts(v, 0, REPORT_EXIT_COUNT, r);
	if (o && json_object_object_get_ex(o, "guest", &v))
		take_counts(v, BENCH_GUEST_KIB, BENCH_COUNTS, r);
	json_object_put(o);
	json_tokener_free(tok);
}

/* ---- Firecracker --boot-timer ---------------------------------------------------------------- */

/*
 * "... Guest-boot-time =  12345 us 12 ms,   6789 CPU us 6 CPU ms": from the start of the process to
 * the guest's store of 123 to 0xc0000000.
 */
static void parse_firecracker(const char *text, struct bench_run *r)
{
	const char *at = strstr(text, "Guest-boot-time");
	uint64_t us;

	if (at && sscanf(at, "Guest-boot-time = %" SCNu64 " us", &us) == 1 && us < UINT32_MAX)
		r->at[PHASE_INIT] = us * NS_PER_US;
}

/* ---- Cloud Hypervisor's debug port ------------------------------------------------------------ */

/*
 * "[Debug I/O port: Kernel code 0x41] 0.123456 seconds", since the device was made. The part behind
 * the point is microseconds: of the second, or in versions that print it so, all of them.
 */
static uint64_t debug_port_ns(const char *text, const char *code)
{
	const char *at = strstr(text, code);
	uint64_t s, us;

	if (!at || sscanf(at + strlen(code), "%" SCNu64 ".%" SCNu64 " seconds", &s, &us) != 2 ||
	    s > UINT32_MAX || us > UINT32_MAX)
		return 0;
	return (us < 1000000 ? s * 1000000 + us : us) * NS_PER_US;
}

static void parse_cloud(const char *text, struct bench_run *r)
{
	uint64_t entry = debug_port_ns(text, "Debug I/O port: Kernel code 0x40] ");
	uint64_t init = debug_port_ns(text, "Debug I/O port: Kernel code 0x41] ");

	if (entry)
		r->at[PHASE_ENTRY] = entry;
	if (init)
		r->at[PHASE_INIT] = init;
}

void bench_parse(enum bench_tells tells, const char *text, uint64_t t0, struct bench_run *ret)
{
	switch (tells) {
	case BENCH_TELLS_REPORT:
		parse_report(text, t0, ret);
		break;
	case BENCH_TELLS_FIRECRACKER:
		parse_firecracker(text, ret);
		break;
	case BENCH_TELLS_CLOUD:
		parse_cloud(text, ret);
		break;
	case BENCH_TELLS_NOTHING:
		break;
	}
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct mapping {
	uint64_t size, pss, rss;
	bool image;  /* a file system image, whose pages all guests share */
	bool shared; /* a file that the bench has mapped too, which halves what is proportional */
};

static void add_mapping(const struct mapping *m, uint64_t ram, uint64_t *pss, uint64_t *used)
{
	if (m->size >= ram && m->size <= ram + RAM_SLACK)
		*used += m->rss;
	else if (!m->image)
		*pss += m->shared ? m->rss : m->pss;
}

static bool ends_with(const char *line, size_t len, const char *tail)
{
	size_t n = strlen(tail);

	return n && len > n && !memcmp(line + len - n, tail, n);
}

static bool ends_with_image(const char *line, size_t len)
{
	static const char *const tails[] = {".erofs", ".img", ".ext4"};

	for (size_t i = 0; i < ARRAY_LEN(tails); i++)
		if (ends_with(line, len, tails[i]))
			return true;
	return false;
}

void bench_smaps(const char *text, uint64_t ram, const char *self, struct bench_run *ret)
{
	uint64_t pss = 0, used = 0, from, to, kib;
	struct mapping m = {0};

	while (*text) {
		size_t len = strcspn(text, "\n");

		if (sscanf(text, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
			add_mapping(&m, ram, &pss, &used);
			m = (struct mapping){.size = to - from,
					     .image = ends_with_image(text, len),
					     .shared = ends_with(text, len, self)};
		} else if (sscanf(text, "Pss: %" SCNu64, &kib) == 1) {
			m.pss = kib;
		} else if (sscanf(text, "Rss: %" SCNu64, &kib) == 1) {
			m.rss = kib;
		}
		text += len + (text[len] == '\n');
	}
	add_mapping(&m, ram, &pss, &used);
	if (!used)
		return; /* the guest's memory was not recognised: no figure is better than a wrong one */
	ret->count[BENCH_PSS_KIB] = pss;
	ret->count[BENCH_RAM_KIB] = used;
}

void bench_memory(int pid, uint64_t ram, struct bench_run *ret)
{
	auto_free char *text = NULL;
	char path[32], self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[MAX(n, 0)] = '\0';
	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	if (fd_read_file(AT_FDCWD, path, 4u << 20, &text, NULL) == 0)
		bench_smaps(text, ram, self, ret);
}
