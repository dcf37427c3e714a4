/*
 * list.h - an intrusive doubly linked ring: the element carries its links, so filing it allocates
 * nothing.
 *
 * A head and an unfiled element are rings of one; list_init() makes them so. An element is in one
 * list per link.
 */
#ifndef ISTHMUS_BASE_LIST_H
#define ISTHMUS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/ensure.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list->prev = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list || list->next == NULL;
}

static inline void list_push_back(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

static inline void list_push_front(struct list *head, struct list *item)
{
    list_push_back(head->next, item);
}

/* Takes the element out of whatever list it is in; harmless on one that is in none. */
static inline void list_remove(struct list *item)
{
    if (item->next) {
        item->prev->next = item->next;
        item->next->prev = item->prev;
    }
    list_init(item);
}

/* All elements of one list, in their order, behind those of another. */
static inline void list_take_all(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(link, type, member) container_of(link, type, member)

/* The body may remove the current element, not others. */
#define list_foreach(it, head)                                                                     \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif
