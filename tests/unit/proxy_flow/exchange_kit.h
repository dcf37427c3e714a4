/*
 * exchange_kit.h - requests of cart on one connection to the service "store", which speaks
 * HTTP/1.1 and has one endpoint, in one town at a time.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_FLOW_EXCHANGE_KIT_H
#define ISTHMUS_TESTS_UNIT_PROXY_FLOW_EXCHANGE_KIT_H

#include "town.h"

#define GET "GET / HTTP/1.1\r\nHost: store\r\n\r\n"

extern struct town town;
extern struct town_call call;

/* cart's connection has come. */
void open_with(const struct walk_options *options);
void close_all(void);
/* It came so many times, or does. */
bool got(const struct tap *tap, const char *part, unsigned times);
bool got_already(const char *part); /* the client */
bool is_served(void *n);            /* so many connections (an unsigned) have come to the app */
/* They have, and there is a head on the last of them. */
bool is_asked(unsigned n_served);
void answer(const char *text); /* the app, on its first */

#endif
