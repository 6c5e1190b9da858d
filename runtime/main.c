/* SPDX-License-Identifier: Apache-2.0 */
/* The husk program: everything is in runtime/cli.c. */
#include "base/clock.h"
#include "runtime/cli.h"
#include "runtime/payload.h"

int main(int argc, char **argv)
{
	if (payload_is(argv[0]))
		return payload_main(argc, argv);
	return husk_main(argc, argv, clock_ns());
}
