/*
 * requests_kit.h - cart's requests to the service "store", of which the app at its endpoints sees
 * the bytes, in one town at a time.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_FLOW_REQUESTS_KIT_H
#define ISTHMUS_TESTS_UNIT_PROXY_FLOW_REQUESTS_KIT_H

#include "town.h"

extern struct town town;
extern struct town_call call;
extern struct model_service *service;
extern unsigned n_answered[APP_TAPS_MAX]; /* heads, of each connection of the app */

/* The service on pay-1 and pay-2, both of which listen; the caller says more and starts. */
void open_two(enum app_protocol protocol);
/* The same with pay-2 on cart's own node, where nobody listens yet, and pay-1 far away. */
void open_near_and_far(enum app_protocol protocol);
/* What was said is learned, and cart's connection comes. */
void start(void);
void leave_near(void); /* pay-2 does */
void close_all(void);

unsigned times_in(struct str text, const char *part);
/* Into an unsigned: a connection of the app with a head that nobody has answered. */
bool find_asked(void *out_idx);
/* The client has been told that. */
bool is_told(void *status);
/* Without a body, on a connection of the app. */
void answer(unsigned idx, const char *status);

#endif
