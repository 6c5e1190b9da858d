/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run in a test's guest: writes a byte to a port. "endguest 0xf4 7" ends the machine with status 7;
 * "endguest 0x80 0x41" stamps the phase table.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: endguest PORT BYTE\n");
		return 2;
	}
	if (iopl(3) < 0) {
		perror("endguest: iopl");
		return 1;
	}
	outb((unsigned char)strtoul(argv[2], NULL, 0), (unsigned short)strtoul(argv[1], NULL, 0));
	return 0;
}
