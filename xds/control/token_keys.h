/*
 * token_keys.h - the keys of issuers of tokens, from where RequestAuthentications say that they are
 * published (jwksUri): http(s) servers and files.
 *
 * Fetched here, once for the cluster, and sent to the nodes inline; a node asks nobody. A source is
 * asked when a rule names it first and then every TOKEN_KEYS_REFRESH_S, with jitter; a file is
 * looked at every TOKEN_KEYS_FILE_S. When that brings no good set the last one stays, and it is
 * tried again after 1 s, 2 s, 4 s, ... TOKEN_KEYS_RETRY_MAX_S. What came last is kept on disk
 * (<stateDir>/token-keys/<SHA-256 of the URI>.json), so that a restart while an issuer is away
 * refuses nobody; it goes when no rule names the source any more, also when that came about while
 * nobody was running: at the first token_keys_follow().
 *
 * https: the server proves its name to the system's authorities. Redirects are not followed.
 *
 * Bounds: TOKEN_KEYS_SOURCES_MAX sources, one request each at a time, JWK_SET_MAX_BYTES, the rule's
 * timeout for all of it.
 * Owner: control. Thread: the loop's. Source: Istio JWTRule (jwksUri, timeout, 20 minutes).
 */
#ifndef ISTHMUS_XDS_CONTROL_TOKEN_KEYS_H
#define ISTHMUS_XDS_CONTROL_TOKEN_KEYS_H

#include "config/manifests.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"
#include "xds/control/registry.h"

#define TOKEN_KEYS_REFRESH_S   1200
#define TOKEN_KEYS_FILE_S      10
#define TOKEN_KEYS_RETRY_MAX_S 300
#define TOKEN_KEYS_SOURCES_MAX 256

struct token_keys;

struct token_keys_options {
    struct str state_dir; /* which is there */
    struct meter *meter;
    uint64_t refresh_ns;            /* 0: as above; also the longest wait after a failure */
    void (*on_change)(void *owner); /* the keys of some source are others; from the loop */
    void *owner;
};

MUST_USE int token_keys_open(struct loop *loop, const struct token_keys_options *options,
                             struct token_keys **out_keys, struct text *why);
void token_keys_close(struct token_keys *keys);

/* The sources are those that the manifests name, from now on. */
void token_keys_follow(struct token_keys *keys, const struct manifests *manifests);
/* What is held of each, in the arena; borrowed until the loop's next turn. */
const struct registry_keys *token_keys_list(const struct token_keys *keys, struct arena *arena,
                                            size_t *out_n);

struct token_keys_status {      /* for ctl; borrowed until the loop's next turn */
    struct str uri, last_error; /* "" when the last look was good */
    int64_t fetched_ns;         /* the last good one; 0: never in this process */
    bool has_keys;
};

bool token_keys_next(const struct token_keys *keys, size_t *idx,
                     struct token_keys_status *out_status);

#endif
