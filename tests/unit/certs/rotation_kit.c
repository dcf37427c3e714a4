#include "rotation_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "certs/csr.h"
#include "proxy/base/err.h"

static void on_request(struct cert_source *source, struct str id, struct str csr_pem)
{
    struct bench *bench = container_of(source, struct bench, source);
    struct asked *asked = &bench->asked[bench->n_asked++];
    char named[SPIFFE_ID_MAX + 1];
    const char *why = NULL;

    cr_assert_eq(csr_read(csr_pem, named, &asked->key, &why), 0, "%s", why);
    cr_assert(str_eq(str_from(named), id));
    (void)snprintf(asked->id, sizeof(asked->id), "%.*s", STR_ARG(id));
}

static void on_cancel(struct cert_source *source)
{
    container_of(source, struct bench, source)->n_cancelled++;
}

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    struct bench *bench = owner;
    struct event *event = &bench->events[bench->n_events++];

    (void)snprintf(event->id, sizeof(event->id), "%.*s", STR_ARG(id));
    event->has_svid = svid != NULL;
    cr_assert_eq(svid, rotation_find(bench->rotation, id));
}

static void on_failed(void *owner, struct str id, struct str why)
{
    struct bench *bench = owner;

    cr_assert(id.len > 0 && why.len > 0);
    bench->n_failed++;
}

static int64_t wall(void *owner)
{
    return ((struct bench *)owner)->wall_ns;
}

static uint64_t mono(void *owner)
{
    return ((struct bench *)owner)->mono_ns;
}

static const struct rotation_events events = {.on_svid = on_svid, .on_failed = on_failed};

struct bench *bench_new(bool has_fake_clock)
{
    static struct bench bench;
    struct rotation_clock clock = {wall, mono, &bench};

    bench = (struct bench){
        .source = {.name = "test", .request = on_request, .cancel_all = on_cancel},
        .wall_ns = (clock_wall_ns() / SECOND_NS + AHEAD_S) * SECOND_NS,
        .mono_ns = 1000 * NS_PER_SEC,
    };
    bench.loop = loop_new();
    bench.ca = test_ca_new("td");
    bench.rotation = rotation_new(bench.loop, &bench.source, &events, &bench);
    if (has_fake_clock)
        rotation_use_clock(bench.rotation, &clock);
    return &bench;
}

void bench_free(struct bench *bench)
{
    rotation_free(bench->rotation);
    for (unsigned i = 0; i < bench->n_asked; i++)
        EVP_PKEY_free(bench->asked[i].key);
    test_ca_free(bench->ca);
    loop_finish(bench->loop);
}

void bench_pass(struct bench *bench, double seconds)
{
    bench->wall_ns += (int64_t)(seconds * 1e9);
    bench->mono_ns += (uint64_t)(seconds * 1e9);
    rotation_check(bench->rotation);
    run_turns(bench->loop, 2);
}

void bench_settle(struct bench *bench)
{
    run_turns(bench->loop, 2);
}

/* A chain for the request's key: life of LIFE_S from the bench's now unless spec says otherwise. */
static void chain_for(const struct bench *bench, const struct asked *asked, struct test_cert spec,
                      struct text *out)
{
    spec.now_s = bench->wall_ns / SECOND_NS;
    spec.from_s = spec.from_s ? spec.from_s : -1;
    spec.until_s = spec.until_s ? spec.until_s : LIFE_S;
    if (!spec.uris[0].ptr)
        spec.uris[0] = str_from(asked->id);
    if (!spec.public_key)
        spec.public_key = asked->key;
    X509 *leaf = test_ca_mint(bench->ca, &spec, NULL);
    test_cert_pem(leaf, out);
    X509_free(leaf);
}

void bench_answer_with(struct bench *bench, unsigned idx, struct test_cert spec)
{
    struct text chain = {0};

    cr_assert(idx < bench->n_asked && !bench->asked[idx].is_answered);
    bench->asked[idx].is_answered = true;
    chain_for(bench, &bench->asked[idx], spec, &chain);
    rotation_answer(bench->rotation, str_from(bench->asked[idx].id), text_str(&chain), 0, STR(""));
    text_fini(&chain);
    bench_settle(bench);
}

void bench_answer(struct bench *bench, unsigned idx)
{
    bench_answer_with(bench, idx, (struct test_cert){0});
}

void bench_refuse(struct bench *bench, unsigned idx)
{
    bench->asked[idx].is_answered = true;
    rotation_answer(bench->rotation, str_from(bench->asked[idx].id), STR(""), -ERR_UNREACHABLE,
                    STR("the CA is away"));
    bench_settle(bench);
}

void bench_hold(struct bench *bench, const char *id)
{
    rotation_want(bench->rotation, str_from(id));
    bench_settle(bench);
    bench_answer(bench, bench->n_asked - 1);
    cr_assert_not_null(rotation_find(bench->rotation, str_from(id)));
}

struct rotation_status bench_status(const struct bench *bench, const char *id)
{
    struct rotation_status status;
    size_t idx = 0;

    while (rotation_next(bench->rotation, &idx, &status))
        if (str_eq(status.id, str_from(id)))
            return status;
    return (struct rotation_status){.state = "none"};
}

struct svid *bench_offer(const struct bench *bench, const char *id, int64_t from_s, int64_t until_s)
{
    struct test_cert spec = {.uris = {str_from(id)},
                             .now_s = bench->wall_ns / SECOND_NS,
                             .from_s = from_s,
                             .until_s = until_s};
    EVP_PKEY *key = NULL;
    X509 *leaf = test_ca_mint(bench->ca, &spec, &key);
    struct text chain = {0}, why = {0};
    struct svid *svid = NULL;

    test_cert_pem(leaf, &chain);
    cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
    text_fini(&chain);
    X509_free(leaf);
    EVP_PKEY_free(key);
    return svid;
}
