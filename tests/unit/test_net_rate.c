/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a NIC: the bucket with a clock of the test's own. test_net.c has the device.
 */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "virtio/net_rate.h"

#define SEC NS_PER_SEC
#define MS  NS_PER_MS

/* How many packets of @len pass from @*now on without waiting, at most @max. */
static unsigned burst(struct net_rate *r, size_t len, uint64_t now, unsigned max)
{
	unsigned cnt = 0;

	while (cnt < max && net_rate_when(r) <= now) {
		net_rate_spend(r, len, now);
		cnt++;
	}
	return cnt;
}

/* What passes in @ns, when everybody waits as told. */
static uint64_t passed(struct net_rate *r, size_t len, uint64_t from, uint64_t ns)
{
	uint64_t now = from, cnt = 0;

	for (;;) {
		now = net_rate_when(r) > now ? net_rate_when(r) : now;
		if (now >= from + ns)
			return cnt;
		net_rate_spend(r, len, now);
		cnt++;
	}
}

Test(net_rate, without_a_limit_nothing_waits)
{
	struct net_rate r = {0};

	cr_expect_not(net_rate_on(&r));
	cr_expect_eq(burst(&r, 65000, 5 * SEC, 100000), 100000);
}

Test(net_rate, packets)
{
	struct net_rate r = {.limit = {.packets = 100, .burst_ns = 50 * MS}};

	cr_expect(net_rate_on(&r));
	cr_expect_eq(burst(&r, 60, 10 * SEC, 1000), 6, "those of 50 ms, and the one at its end");
	cr_expect_eq(net_rate_when(&r), 10 * SEC + 10 * MS, "the next one in 10 ms");
	cr_expect_eq(burst(&r, 60, 10 * SEC + 9 * MS, 1000), 0);
	cr_expect_eq(burst(&r, 60, 10 * SEC + 10 * MS, 1000), 1);
	/* However long it was quiet, no more than a burst has been saved. */
	cr_expect_eq(burst(&r, 60, 1000 * SEC, 1000), 6);
	cr_expect_eq(passed(&r, 60, 1000 * SEC, 10 * SEC), 999, "100 a second");
}

Test(net_rate, bytes)
{
	struct net_rate r = {.limit = {.bytes = 1000000}};

	/* The default burst: 100 ms. */
	cr_expect_eq(burst(&r, 1000, 10 * SEC, 1000), 101);
	cr_expect_eq(passed(&r, 1000, 10 * SEC + SEC, SEC), 1000 + 100);
	/* One that is larger than the bucket passes, and is paid for. */
	r = (struct net_rate){.limit = {.bytes = 1000}};
	cr_expect_eq(burst(&r, 64000, 10 * SEC, 10), 1);
	cr_expect_eq(net_rate_when(&r), 74 * SEC - 100 * MS);
}

Test(net_rate, the_narrower_of_two_counts)
{
	struct net_rate r = {.limit = {.bytes = 1000000, .packets = 10}};

	cr_expect_lt(passed(&r, 100, SEC, 10 * SEC), 103);
	r = (struct net_rate){.limit = {.bytes = 1000, .packets = 1000}};
	cr_expect_lt(passed(&r, 100, SEC, 10 * SEC), 103);
}

Test(net_rate, the_slowest_rate_and_the_largest_packet_fit)
{
	struct net_rate r = {.limit = {.bytes = 1, .packets = 1}};

	net_rate_spend(&r, 65550, UINT64_C(1) << 62);
	cr_expect_eq(net_rate_when(&r), (UINT64_C(1) << 62) + 65550 * SEC - NET_BURST_NS);
}
