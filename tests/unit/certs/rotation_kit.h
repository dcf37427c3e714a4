/*
 * rotation_kit.h - a rotation with a source that keeps what it is asked, and clocks that stand
 * until a test moves them. One bench at a time.
 */
#ifndef TESTS_UNIT_CERTS_ROTATION_KIT_H
#define TESTS_UNIT_CERTS_ROTATION_KIT_H

#include "certs/rotation.h"
#include "proxy/base/clock.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/test_ca.h"

#define ID_A       "spiffe://td/ns/shop/sa/a"
#define ID_B       "spiffe://td/ns/shop/sa/b"
#define SECOND_NS  ((int64_t)NS_PER_SEC)
#define ASKED_MAX  128
#define EVENTS_MAX 128
#define LIFE_S     1000
#define AHEAD_S    60 /* of the wall clock, by which svid.h judges: so long may a machine pause */

struct asked {
    char id[256];
    EVP_PKEY *key; /* of the request */
    bool is_answered;
};

struct event {
    char id[256];
    bool has_svid;
};

struct bench {
    struct loop *loop;
    struct cert_source source;
    struct rotation *rotation;
    struct test_ca *ca;
    int64_t wall_ns;
    uint64_t mono_ns;
    struct asked asked[ASKED_MAX];
    unsigned n_asked, n_cancelled, n_failed;
    struct event events[EVENTS_MAX];
    unsigned n_events;
};

struct bench *bench_new(bool has_fake_clock);
void bench_free(struct bench *bench);

/* Lets time pass on both clocks and the rotation see it. */
void bench_pass(struct bench *bench, double seconds);
void bench_settle(struct bench *bench);

/* Answers the request of that index: a life of LIFE_S from the bench's now unless spec says so. */
void bench_answer_with(struct bench *bench, unsigned idx, struct test_cert spec);
void bench_answer(struct bench *bench, unsigned idx);
void bench_refuse(struct bench *bench, unsigned idx);
/* Wants the identity, and answers. */
void bench_hold(struct bench *bench, const char *id);

struct rotation_status bench_status(const struct bench *bench, const char *id);
struct svid *bench_offer(const struct bench *bench, const char *id, int64_t from_s,
                         int64_t until_s);

#endif
