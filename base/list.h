/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list with a head node. No allocation, no locking.
 */
#ifndef HUSK_BASE_LIST_H
#define HUSK_BASE_LIST_H

#include <stdbool.h>
#include "base/compiler.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l)                                                                               \
	{                                                                                          \
		&(l), &(l)                                                                         \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_add_tail(struct list *l, struct list *n)
{
	n->prev = l->prev;
	n->next = l;
	l->prev->next = n;
	l->prev = n;
}
/* Safe on a node that is in no list as long as it was initialised. */
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first(l, type, member)   list_entry((l)->next, type, member)

#define list_for_each(pos, l)	      for (struct list *pos = (l)->next; pos != (l); pos = pos->next)
#define list_for_each_safe(pos, tmp, l)                                                            \
	for (struct list *pos = (l)->next, *tmp = pos->next; pos != (l); pos = tmp, tmp = pos->next)

#endif
