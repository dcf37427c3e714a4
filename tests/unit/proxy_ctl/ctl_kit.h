/*
 * ctl_kit.h - an admin port with canned pages in a thread of its own, and `isthmus ctl` run against
 * it.
 */
#ifndef TESTS_UNIT_PROXY_CTL_CTL_KIT_H
#define TESTS_UNIT_PROXY_CTL_CTL_KIT_H

#include <stddef.h>

struct canned {
    const char *path;
    unsigned status;
    const char *body;
};

struct server;

/* Serves the pages, anything else with 404. */
struct server *server_start(const struct canned *pages, size_t n_pages);
/* "127.0.0.1:4711" */
const char *server_address(const struct server *server);
/* Path and query of the last request, "" if there was none. */
const char *server_asked(const struct server *server);
void server_stop(struct server *server);

struct outcome {
    int status;
    char out[65536], err[65536];
};

/* Runs ctl with the words of the line, of which "@" stands for --address of the server. */
void run_ctl(const struct server *server, const char *line, struct outcome *outcome);

#endif
