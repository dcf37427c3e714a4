/*
 * far.h - the far side of tunnels, as a test wants it: real TCP, TLS and HTTP/2, with answers that
 * the test chooses; and the near side, a connector whose connects record how they ended.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_CONNECT_FAR_H
#define ISTHMUS_TESTS_UNIT_PROXY_CONNECT_FAR_H

#include "proxy/connect/connect.h"
#include "tests/unit/proxy_tls/tls_kit.h"

#define FAR_TUNNELS_MAX 200
#define FAR_STREAMS_MAX 400
#define PATIENCE_MS     30000
#define LONG_NS         (UINT64_C(60) * 1000000000)

struct far_tunnel {
    struct far *far;
    struct tls_handshake *handshake;
    struct h2 *h2;
};

struct far {
    struct world *world;
    struct listener *listener;
    struct tls_identity *identity; /* shown; borrowed */
    const struct trust *trust;     /* for judging the near side */
    const char *status;            /* of every answer; NULL: none is given */
    bool body_follows;             /* an answer that is not 200 has a body */
    const char *first_words;       /* sent right behind the answer */
    bool is_deaf;                  /* takes the connection and says nothing */
    struct h2_options h2;
    struct far_tunnel tunnels[FAR_TUNNELS_MAX];
    unsigned n_accepted, n_secured, n_lost; /* n_lost: ended */
    struct tap streams[FAR_STREAMS_MAX];
    unsigned n_requests;
    char authority[128], baggage[128], forwarded[128], traceparent[128], peer_id[128],
        lost_why[128];
};

void far_open(struct far *far, struct world *world);
/* Answers a request that got none yet. */
void far_answer(struct far *far, unsigned idx, const char *status);
void far_drain(struct far *far, unsigned tunnel);
/* Ends a tunnel rudely. */
void far_kill(struct far *far, unsigned tunnel);
void far_close(struct far *far);

struct near {
    struct world world;
    struct tls_set *set;
    const struct tls_set *set_now; /* what the connector reads: set, unless a test changes it */
    struct meter *meter;
    struct connector *connector;
    struct far far;
};

struct attempt {
    struct near *near;
    struct connect *connect;
    struct connect_request request; /* of attempt_start(): for asking again */
    bool is_done;
    unsigned n_again; /* how often a failure is answered by asking again */
    unsigned n_done;
    int err;
    char why[256], peer_id[128], baggage[128];
    struct tap tap;           /* the upstream */
    const struct tap *beside; /* another, of which is noted: */
    size_t n_beside;          /* what it had got when this one was done */
};

/* A connector that speaks as ID_A; a far side that shows ID_B and answers 200. */
void near_open(struct near *near, const struct connector_options *options);
void near_close(struct near *near);
/* To 127.0.0.1:8080 through a tunnel, expecting ID_B, with a lot of time. */
struct connect_request near_request(void);
void attempt_start(struct attempt *attempt, struct near *near,
                   const struct connect_request *request);
/* It is done: true when it succeeded. */
bool attempt_wait(struct attempt *attempt);
/* Closes what it got. */
void attempt_end(struct attempt *attempt);

bool far_has_requests(struct far *far, unsigned n);
bool far_has_lost(struct far *far, unsigned n);

/* An address on loopback where nobody listens; and one where a dial hangs (close *out_fds when
 * done). */
struct addr dead_end(void);
struct addr black_hole(int out_fds[4]);

#endif
