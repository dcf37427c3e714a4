/*
 * ways.h - the ways in which a request comes to where it is judged, what may be said on them and
 * what is heard, in one town at a time.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_FLOW_WAYS_H
#define ISTHMUS_TESTS_UNIT_PROXY_FLOW_WAYS_H

#include "town.h"

#define CART_ID "west.example/ns/shop/sa/cart"
#define OK      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
#define DENIED  "HTTP/1.1 403 "

struct way {
    const char *name;
    enum arrival_kind kind;
    bool is_same_node, is_http_there; /* else nobody says what is spoken */
    bool tunnels_own_node;            /* walk_options' */
};

#define WAYS 6

extern const struct way ways[WAYS];
extern struct town town;
extern struct town_call call;

/* Policies: requests with a path that begins so; /public; all of cart's. */
struct model_policy *allow(const char *name, const char *path_prefix);
void allow_public(void);
void allow_cart(void);

/* The node of the pod that is called. */
struct town_node *judge_of(const struct way *way);
/* A town with what the function adds, and a call on its way. */
void open_way(const struct way *way, void (*policies)(void));
/* The same in a town that is open already. */
void open_way_of(const struct way *way, void (*policies)(void));
void start(const struct way *way);
void finish(void);
void close_way(void);
/* Since the town was opened. */
int64_t count(enum metric metric);

void say(const char *text);
void get(const char *path);
unsigned count_of(const struct tap *tap, const char *part);
/* It came so many times, or does. */
bool got(const struct tap *tap, const char *part, unsigned times);
/* So many connections (an unsigned) have come to the app; for run_until(). */
bool is_served(void *n);
/* The n-th connection of the app has seen that so many times. */
bool app_saw(unsigned n_served, const char *part, unsigned times);
/* 200 from there. */
void answer(unsigned n_served);
/* So many exchanges have ended. */
bool ended(int64_t n);

#endif
