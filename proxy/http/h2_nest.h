/*
 * h2_nest.h - the pages in which one session of nghttp2 lies, which can be folded while it does
 * nothing.
 *
 * A session asks for 9 KB when it is born: its struct, a map of streams, the rings of both tables
 * of fields; then for many small things, the fields in those tables above all. In a connection that
 * waits nine tenths of that are zeros, and most of the rest is pointers to the same few places.
 * h2_nest_fold() writes it in a few hundred bytes of the heap and gives the pages back to the
 * kernel; h2_nest_unfold() writes it where it was. No address changes and no byte, so the session
 * cannot tell, whatever it holds: open streams, windows, tables of fields, output that waits.
 * Between the two nobody may touch what lies there; in builds that check assumptions the pages are
 * closed meanwhile, so that who does is found.
 *
 * Owner:  h2_nest_new()'s caller. Thread: that of its birth.
 */
#ifndef ISTHMUS_HTTP_H2_NEST_H
#define ISTHMUS_HTTP_H2_NEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_NEST_BYTES ((size_t)12288) /* whole pages */
#define H2_NEST_SMALL ((size_t)120)

struct h2_nest_chunk;

struct h2_nest { /* whose members are h2_nest.c's alone */
    uint8_t *bytes;
    size_t used;
    uint8_t *image; /* what is not zero of it while it is folded, else NULL */
    size_t image_len;
    struct h2_nest_chunk *chunk;
    struct h2_nest *next; /* while it is free */
};

struct h2_nest *h2_nest_new(void);
void h2_nest_free(struct h2_nest *nest);

/* Zeroed memory as malloc aligns it, until it is given back or with the nest. NULL: there is no
 * room. */
void *h2_nest_take(struct h2_nest *nest, size_t size);
/* What is no larger than H2_NEST_SMALL is room for others. */
void h2_nest_give_back(struct h2_nest *nest, void *ptr);
bool h2_nest_has(const struct h2_nest *nest, const void *ptr);
/* The size of what was taken. */
size_t h2_nest_size(const void *ptr);

/* Leaves it as it is when there is little to gain. */
void h2_nest_fold(struct h2_nest *nest);
void h2_nest_unfold(struct h2_nest *nest);

static inline bool h2_nest_is_folded(const struct h2_nest *nest)
{
    return nest->image;
}

#endif
