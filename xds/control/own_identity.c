#include "xds/control/own_identity.h"

#include "certs/csr.h"
#include "certs/svid.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define LOOK_NS  (60 * NS_PER_SEC) /* clocks jump: the wall clock is looked at this often */
#define RETRY_NS (10 * NS_PER_SEC)

struct own_identity {
    struct loop *loop;
    struct ca *ca;
    struct arena arena;
    struct str id;
    uint64_t ttl_ns;
    struct tls_identity *current;
    int64_t renew_at_ns;
    struct timer timer;
};

static int make_svid(struct own_identity *identity, struct svid **out_svid, struct text *why)
{
    struct text csr_pem = {0}, chain_pem = {0};
    EVP_PKEY *key = NULL;
    int err = csr_make(identity->id, &key, &csr_pem);
    if (err == 0)
        err = ca_sign(identity->ca, identity->id, key, (int64_t)identity->ttl_ns, &chain_pem);
    if (err == 0)
        err = svid_from_chain(text_str(&chain_pem), key, out_svid, why);
    else
        text_add(why, str_from(err_text(err)));
    csr_key_free(key);
    text_fini(&csr_pem);
    text_fini(&chain_pem);
    return err;
}

static int renew(struct own_identity *identity, struct text *why)
{
    struct svid *svid = NULL;
    struct tls_identity *fresh = NULL;
    int err = make_svid(identity, &svid, why);
    if (err < 0)
        return err;
    err = tls_identity_new(svid, &fresh);
    if (err == 0) {
        if (identity->current)
            tls_identity_unref(identity->current);
        identity->current = fresh;
        identity->renew_at_ns = svid_renew_at_ns(svid, rng_below(loop_rng(identity->loop), 1000));
        /* Certificates are dated back, so a very short one is past its half when it is new. */
        const int64_t soonest_ns = clock_wall_ns() + (int64_t)(identity->ttl_ns / 4);
        if (identity->renew_at_ns < soonest_ns)
            identity->renew_at_ns = soonest_ns;
    } else {
        text_add(why, str_from(err_text(err)));
    }
    svid_unref(svid);
    return err;
}

static void on_timer(struct timer *timer);

static void wait(struct own_identity *identity, uint64_t most_ns)
{
    const int64_t left_ns = identity->renew_at_ns - clock_wall_ns();
    uint64_t after_ns = left_ns > 0 ? (uint64_t)left_ns : NS_PER_MS;
    if (after_ns > LOOK_NS)
        after_ns = LOOK_NS;
    timer_start(identity->loop, &identity->timer, after_ns < most_ns ? most_ns : after_ns,
                on_timer);
}

static void on_timer(struct timer *timer)
{
    struct own_identity *identity = container_of(timer, struct own_identity, timer);
    struct text why = {0};
    if (clock_wall_ns() >= identity->renew_at_ns && renew(identity, &why) < 0) {
        log_error("the control process's own certificate could not be renewed",
                  log_str("why", text_str(&why)));
        wait(identity, RETRY_NS);
    } else {
        wait(identity, 0);
    }
    text_fini(&why);
}

int own_identity_open(struct loop *loop, struct ca *ca, struct str trust_domain, uint64_t ttl_ns,
                      struct own_identity **out_identity, struct text *why)
{
    struct own_identity *identity = mem_new(struct own_identity);
    identity->loop = loop;
    identity->ca = ca;
    identity->ttl_ns = ttl_ns;
    identity->id = spiffe_for_control(&identity->arena, trust_domain);
    const int err = renew(identity, why);
    if (err < 0) {
        arena_fini(&identity->arena);
        mem_free(identity);
        return err;
    }
    wait(identity, 0);
    *out_identity = identity;
    return 0;
}

void own_identity_close(struct own_identity *identity)
{
    if (!identity)
        return;
    timer_stop(&identity->timer);
    tls_identity_unref(identity->current);
    arena_fini(&identity->arena);
    mem_free(identity);
}

struct tls_identity *const *own_identity_current(const struct own_identity *identity)
{
    return &identity->current;
}
