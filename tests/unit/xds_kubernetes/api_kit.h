/*
 * api_kit.h - an API server over TLS on loopback that a test scripts, request by request.
 *
 * Who asks is told by its token, "row-0", "row-1", ...: each has a script for one place, and is
 * answered everywhere else with an empty list and a watch that says nothing.
 *
 * Owner: api_free(), when nobody asks any more. Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_API_KIT_H
#define ISTHMUS_TESTS_API_KIT_H

#include "proxy/base/text.h"
#include "proxy/io/loop.h"

#define API_ROWS_MAX 32
#define API_LATER_MS 200

enum api_way {
    API_WHOLE, /* the answer, with its length */
    API_OPEN,  /* in chunks, and more may come */
    API_ENDED, /* in chunks, and that is all */
    API_CUT,   /* the connection ends before the announced length */
    API_LARGE, /* the body is blanks, more than anybody takes */
    API_MUTE,  /* no answer at all, the connection stays */
    API_GONE,  /* the connection ends without an answer */
};

struct api_step {
    const char *asks; /* the target, behind the place */
    enum api_way way;
    unsigned status; /* 0: 200 */
    const char *body;
    const char *later; /* API_OPEN: said API_LATER_MS afterwards; NULL: nothing */
};

struct api_row {
    const char *place; /* that the script is about; all of its versions if it ends early */
    const struct api_step *steps;
    size_t n_steps;
    /* What came of it. */
    size_t at;        /* steps that were asked for; the latest one may be again */
    struct str wrong; /* what was asked for in place of a step; "" nothing; the server's */
    /* The longest from the last word to the end that the client made, among the answers on which
     * the most words were said; a head is none. */
    unsigned n_words;
    uint64_t quiet_ns;
};

struct api;

struct api *api_new(struct loop *loop);
void api_free(struct api *api);
uint16_t api_port(const struct api *api);
struct str api_roots(const struct api *api); /* PEM; borrowed */
/* The next row; borrowed while the server is. */
void api_add(struct api *api, struct api_row *row);

#endif
