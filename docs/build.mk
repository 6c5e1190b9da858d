# SPDX-License-Identifier: Apache-2.0
# Installation: programs, guest files, man pages, completion.
INSTALL ?= install

install: all ## programs, guest kernel and image, man pages; honours DESTDIR and PREFIX
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/husk $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(INSTALL) -m 755 $(O)/bin/husk $(O)/bin/vmm $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 644 $(BK)/vmlinux $(BK)/bzImage $(O)/rootfs.erofs $(DESTDIR)$(PREFIX)/lib/husk
	$(INSTALL) -m 644 $(wildcard docs/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1
	$(INSTALL) -m 644 $(wildcard docs/man/*.5) $(DESTDIR)$(PREFIX)/share/man/man5
	$(INSTALL) -m 644 docs/completion/husk.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/husk
	$(INSTALL) -m 644 docs/completion/vmm.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vmm

uninstall: ## what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/husk bin/vmm lib/husk/vmlinux lib/husk/bzImage lib/husk/rootfs.erofs \
		$(addprefix share/man/man1/,$(notdir $(wildcard docs/man/*.1))) \
		$(addprefix share/man/man5/,$(notdir $(wildcard docs/man/*.5))) \
		share/bash-completion/completions/husk share/bash-completion/completions/vmm)
.PHONY: install uninstall
