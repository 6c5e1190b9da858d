/* SPDX-License-Identifier: Apache-2.0 */
/* The husk program: everything is in runtime/cli.c. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/cli.h"
#include "runtime/payload.h"
#include "vmm/term.h"

/* What libraries do at exit is to free what ends with the process, and somebody waits for that. A leak check needs it. */
static NORETURN void end(int status)
{
#ifdef __SANITIZE_ADDRESS__
	exit(status);
#else
	term_restore();
	(void)fflush(NULL);
	_exit(status);
#endif
}

int main(int argc, char **argv)
{
	if (payload_is(argv[0]))
		return payload_main(argc, argv);
	end(husk_main(argc, argv, clock_ns()));
}
