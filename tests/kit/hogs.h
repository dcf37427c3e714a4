/*
 * hogs.h - others who want the time of each turn, so that what can be put off comes slowly.
 *
 * Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_KIT_HOGS_H
#define ISTHMUS_TESTS_KIT_HOGS_H

#include "proxy/io/loop.h"

#define HOGS 100

struct hogs {
    struct loop *loop;

    struct hog {
        struct task task;
        struct hogs *hogs;
    } hogs[HOGS];
    struct task bring;
    void (*then)(void *ctx);
    void *ctx;
    bool is_here;
};

/* Each of them takes all the time of a turn, again and again. then() is called at the end of a turn
 * that is late: a chore that begins there has one piece, and another when each hog had a turn. It
 * has been called when this returns. */
void hogs_bring(struct hogs *hogs, struct loop *loop, void (*then)(void *ctx), void *ctx);
void hogs_send_away(struct hogs *hogs);

#endif
