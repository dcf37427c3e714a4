/*
 * url.h - a URL that is fetched: https, or http where the caller bears that.
 *
 * Thread: any. Source: RFC 3986, RFC 9110 section 4.2; without user information and fragment.
 */
#ifndef ISTHMUS_CONFIG_URL_H
#define ISTHMUS_CONFIG_URL_H

#include "config/endpoint.h"
#include "proxy/base/arena.h"

struct url {
    bool is_plain; /* http */
    struct endpoint_name server;
    struct str path; /* with the query; "/" at least */
};

/* Copied into the arena. NULL, or a sentence why it is none ("must begin with https://"). */
const char *url_parse(struct str text, bool takes_plain, struct arena *arena, struct url *out_url);

#endif
