# SPDX-License-Identifier: Apache-2.0
# Our order for the linker: reads the kernel's own linker script (arch/x86/kernel/vmlinux.lds, as the
# preprocessor leaves it) and prints the one that vmlinux is linked with. build.sh calls it; README.md
# says what each change saves. Fails if something is not where it is expected.
#
# 1. What follows the entry code goes before it. There it is 800 bytes behind a 2 MiB bound, and what
#    is left of those 2 MiB is loaded, made data page by page, poisoned and freed at each boot.
# 2. Nothing is encrypted here (AMD_MEM_ENCRYPT is off): no 2 MiB bounds within .bss for it.
# 3. Left out: the list of retpolines, whose 5300 calls are decoded one by one at boot to write the
#    jump in their place where the processor needs no retpoline; the thunk that they call becomes
#    that jump anyway. And the initcall that makes /sys/kernel/slab.

{ line[NR] = $0 }
/ALIGN\(\(1 << 21\)\);$/ && !bound { bound = NR }
/__entry_text_start = \.;/ { entry = NR }
/__softirqentry_text_start = \.;/ { tail = NR }
/} :text =/ && tail && !tail_end { tail_end = NR }
/__start_bss_decrypted = \.;/ { bss = NR; gsub(/1 << 21/, "1 << 12", line[NR]) }
/^SECTIONS/ { sections = NR }
/\*\(\.retpoline_sites\)/ { sites = NR }
/\*\(\.initcall6\.init\)/ { calls = NR }

END {
	if (!bound || entry != bound + 1 || tail != entry + 2 || !tail_end || !bss || !sites ||
	    !calls || line[sections + 1] !~ /^{/) {
		print "the kernel's linker script is not as link.awk knows it" >"/dev/stderr"
		exit 1
	}
	for (i = 1; i <= NR; i++) {
		if (i == bound)
			for (j = tail; j < tail_end; j++)
				print line[j]
		if (i < tail || i >= tail_end)
			print line[i]
		if (i == sections + 1)
			print " /DISCARD/ : { *(.retpoline_sites) *slub.o(.initcall6.init) }"
	}
}
