/*
 * err.h - what went wrong, as one enum with one table behind it.
 *
 * Functions that the world can make fail return int: 0, or a negative enum err (-ERR_REFUSED). The
 * same enum is the one reason with which every connection ends, in its log line, its counter and in
 * `isthmus ctl`.
 *
 * Thread: any. The table is constant.
 */
#ifndef ISTHMUS_BASE_ERR_H
#define ISTHMUS_BASE_ERR_H

#define ERR(name, sentence, blame, label, flag) ERR_##name,

enum err {

#include "proxy/base/errors.def"
    ERR_COUNT
};
#undef ERR

enum blame { BLAME_NONE, BLAME_CLIENT, BLAME_UPSTREAM, BLAME_CONFIG, BLAME_POLICY, BLAME_LOCAL };

struct err_info {
    const char *sentence;
    enum blame blame;
    const char *label;
    const char *flag;
};

/* The row of an error; accepts the enum or its negative, since both travel. Never NULL. */
const struct err_info *err_info(int err);

/* Shorthands for the row's columns. */
const char *err_text(int err);
const char *err_label(int err);

/* The error that says best what an errno value of the operating system means (ECONNREFUSED ->
 * -ERR_REFUSED). Negative. */
int err_from_errno(int errnum);

#endif
