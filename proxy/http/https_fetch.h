/*
 * https_fetch.h - one request over TLS, with its whole answer: what bundles of other trust domains
 * and keys of token issuers are fetched with, and spans are sent with; the latter two also without
 * TLS. And with an answer that goes on: what the API server of Kubernetes is watched with.
 *
 * Happy path: lookup -> connect, address by address -> handshake -> request -> on_done(0). Failure
 * modes, each as on_done's err with a sentence: no such name, nobody answers, the server is not who
 * it must be, no answer in time, an answer that is malformed, cut short or too large. Redirects are
 * the caller's to judge.
 *
 * Owner: the caller, until on_done or https_fetch_cancel(). Thread: the loop's.
 */
#ifndef ISTHMUS_HTTP_HTTPS_FETCH_H
#define ISTHMUS_HTTP_HTTPS_FETCH_H

#include "proxy/http/message.h"
#include "proxy/io/loop.h"
#include "proxy/tls/tls_stream.h"

struct https_request { /* borrowed for the call, but for trust */
    struct str host;   /* a name or an address, without brackets */
    uint16_t port;
    struct str path; /* with the query */
    size_t max_body;
    uint64_t timeout_ns; /* for all of it */
    /* Empty: the server proves its host name to the system's authorities. Else its SPIFFE ID, with
     * the trust that it is verified against. */
    struct str spiffe_id;
    const struct trust *const *trust;
    bool is_plain; /* no TLS at all */
    uint32_t mark; /* of the packets; 0: none */
    /* Empty: a GET. Else a POST of the body, which is all queued at once. */
    struct str content_type, body;
    struct http_fields fields; /* more of the head, well formed */
    /* Not NULL: in place of the system's authorities, those of this identity
     * (tls_identity_web_of()).
     */
    struct tls_identity *authorities;
    /* Not NULL: the body of an answer with status 200 comes here piece by piece, the first without
     * bytes when the head is there, and the answer's is empty. It may cancel the fetch. */
    void (*on_piece)(void *owner, struct str piece);
};

struct https_answer { /* borrowed for the call of on_done */
    unsigned status;
    struct str body, location, retry_after;
};

struct https_fetch;

/* answer is NULL when err < 0; why is a sentence then. Never NULL. */
struct https_fetch *https_fetch(struct loop *loop, const struct https_request *request,
                                void (*on_done)(void *owner, int err,
                                                const struct https_answer *answer, struct str why),
                                void *owner);
void https_fetch_cancel(struct https_fetch *fetch);

#endif
