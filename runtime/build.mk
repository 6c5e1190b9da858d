# SPDX-License-Identifier: Apache-2.0
# What `husk --version` says; rebuilt when the commit changes is not worth a rule of its own.
$(O)/obj/runtime/info.o: CPPFLAGS += -DHUSK_COMMIT='"$(COMMIT)"'
# libnl's address parsing refers to the resolver, which husk never calls; the linker warns of that in static programs.
$(O)/bin/husk: LDFLAGS_ALL += -Wl,--no-warnings
