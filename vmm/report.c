/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phase table. See report.h.
 */
#include "vmm/report.h"

#include <inttypes.h>
#include "base/clock.h"
#include "base/compiler.h"

/* JSON keys are stable. */
static const struct {
	const char *key, *text;
} phases[PHASE_COUNT] = {
    [PHASE_EXEC] = {"exec", "program runs"},
    [PHASE_CONFIG] = {"config", "configuration read"},
    [PHASE_CREATE_VM] = {"create_vm", "VM created"},
    [PHASE_MEMORY] = {"memory", "memory set up"},
    [PHASE_KERNEL] = {"kernel", "kernel loaded"},
    [PHASE_RUN] = {"run", "first KVM_RUN"},
    [PHASE_ENTRY] = {"entry", "kernel entry (marker)"},
    [PHASE_CONSOLE] = {"console", "first console byte"},
    [PHASE_INIT] = {"init", "init runs (marker)"},
    [PHASE_AGENT] = {"agent", "agent answered"},
    [PHASE_PROCESS] = {"process", "container's process started"},
    [PHASE_OUTPUT] = {"output", "first output byte"},
    [PHASE_EXIT] = {"exit", "guest ended"},
};

static const char *const exits[REPORT_EXIT_COUNT] = {
    [REPORT_IO] = "io",	    [REPORT_MMIO] = "mmio",   [REPORT_EOI] = "eoi",
    [REPORT_INTR] = "intr", [REPORT_OTHER] = "other",
};

const char *report_phase_key(unsigned p)
{
	return phases[p].key;
}

const char *report_phase_text(unsigned p)
{
	return phases[p].text;
}

const char *report_exit_key(unsigned why)
{
	return exits[why];
}

void report_stamp_at(struct report *r, enum report_phase p, uint64_t ns)
{
	uint64_t none = 0;

	if (r)
		(void)atomic_compare_exchange_strong(&r->at[p], &none, ns);
}

void report_stamp(struct report *r, enum report_phase p)
{
	if (r && !atomic_load_explicit(&r->at[p], memory_order_relaxed))
		report_stamp_at(r, p, clock_ns());
}

void report_count(struct report *r, enum report_exit why)
{
	if (r)
		(void)atomic_fetch_add_explicit(&r->exits[why], 1, memory_order_relaxed);
}

void report_guest_memory(struct report *r, uint64_t kib, uint64_t free_kib)
{
	if (!r)
		return;
	atomic_store_explicit(&r->guest_kib, kib, memory_order_relaxed);
	atomic_store_explicit(&r->guest_free_kib, free_kib, memory_order_relaxed);
}

static void print_json(const struct report *r, FILE *f)
{
	const char *sep = "";

	fputs("{\"phases_ns\":{", f);
	for (unsigned i = 0; i < PHASE_COUNT; i++) {
		uint64_t at = atomic_load(&r->at[i]);

		if (!at)
			continue;
		fprintf(f, "%s\"%s\":%" PRIu64, sep, phases[i].key, at);
		sep = ",";
	}
	fputs("},\"exits\":{", f);
	sep = "";
	for (unsigned i = 0; i < REPORT_EXIT_COUNT; i++) {
		fprintf(f, "%s\"%s\":%" PRIu64, sep, exits[i], atomic_load(&r->exits[i]));
		sep = ",";
	}
	fputs("}", f);
	if (atomic_load(&r->guest_kib))
		fprintf(f,
			",\"guest\":{\"guest_memory_kib\":%" PRIu64 ",\"guest_free_kib\":%" PRIu64
			"}",
			atomic_load(&r->guest_kib), atomic_load(&r->guest_free_kib));
	fputs("}\n", f);
}

/* In the order of time: a marker may come before or after the first console byte. */
static void print_table(const struct report *r, FILE *f)
{
	uint64_t first = 0, last = 0, total = 0;

	fprintf(f, "%-27s %12s %12s\n", "phase", "ms", "since last");
	for (;;) {
		unsigned next = PHASE_COUNT;

		for (unsigned i = 0; i < PHASE_COUNT; i++) {
			uint64_t at = atomic_load(&r->at[i]);

			if (at > last && (next == PHASE_COUNT || at < atomic_load(&r->at[next])))
				next = i;
		}
		if (next == PHASE_COUNT)
			break;
		if (!first)
			first = last = atomic_load(&r->at[next]);
		fprintf(f, "%-27s %12.3f %12.3f\n", phases[next].text,
			(double)(atomic_load(&r->at[next]) - first) / 1e6,
			(double)(atomic_load(&r->at[next]) - last) / 1e6);
		last = atomic_load(&r->at[next]);
	}
	fputs("returns of KVM_RUN:", f);
	for (unsigned i = 0; i < REPORT_EXIT_COUNT; i++) {
		fprintf(f, " %s %" PRIu64, exits[i], atomic_load(&r->exits[i]));
		total += atomic_load(&r->exits[i]);
	}
	fprintf(f, ", together %" PRIu64 "\n", total);
	if (atomic_load(&r->guest_kib))
		fprintf(f,
			"guest memory when the agent answered: %" PRIu64 " KiB, of which %" PRIu64
			" free\n",
			atomic_load(&r->guest_kib), atomic_load(&r->guest_free_kib));
}

void report_print(const struct report *r, FILE *f, bool json)
{
	if (json)
		print_json(r, f);
	else
		print_table(r, f);
}
