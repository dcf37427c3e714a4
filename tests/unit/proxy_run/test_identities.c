#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/file.h"
#include "proxy/run/identities.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/temp_dir.h"
#include "tests/kit/test_ca.h"

TestSuite(identities, .timeout = 30);

#define PATIENCE_MS 5000

static struct loop *loop;
static struct temp_dir dir;
static struct arena arena;
static struct test_ca *west, *east;
static struct meter *meter;
static struct proxy_config config;
static struct identities *identities;
static struct tls_set *set; /* the newest */
static unsigned n_sets;

static void on_set(void *owner, struct tls_set *next)
{
    (void)owner;
    if (set)
        tls_set_free(set);
    set = next;
    n_sets++;
}

static void on_node_identity(void *owner)
{
    (void)owner;
}

static const struct identities_events events = {on_set, on_node_identity};

static struct str path_of(const char *name)
{
    return arena_printf(&arena, "%.*s/%s", STR_ARG(temp_dir_path(&dir)), name);
}

static void start(void)
{
    struct text pem = {0};
    loop = loop_new();
    dir = temp_dir_new();
    meter = meter_new();
    west = test_ca_new("west.example");
    east = test_ca_new("east.example");
    config = (struct proxy_config){
        .node = STR("n1"),
        .cluster = STR("west"),
        .trust_domain = STR("west.example"),
        .state_dir = temp_dir_path(&dir),
        .control_trust_bundle = path_of("root.pem"),
        .control_token_file = path_of("token"),
    };
    test_ca_pem(west, &pem);
    cr_assert_eq(file_write_atomic(config.control_trust_bundle, text_str(&pem), 0600), 0);
    text_fini(&pem);
}

static void open_them(void)
{
    struct text why = {0};
    cr_assert_eq(identities_open(loop, &config, meter, &events, NULL, &identities, &why), 0, "%s",
                 why.ptr);
    cr_assert(run_until_count(loop, &n_sets, 1, PATIENCE_MS));
}

static void finish(void)
{
    if (identities)
        identities_close(identities);
    if (set)
        tls_set_free(set);
    test_ca_free(west);
    test_ca_free(east);
    meter_free(meter);
    temp_dir_remove(&dir);
    arena_fini(&arena);
    loop_finish(loop);
}

static bool is_in_the_set_as_in_force(void *domain)
{
    return (trust_find(set->trust, str_from(domain)) != NULL) ==
           (trust_find(*identities_trust(identities), str_from(domain)) != NULL);
}

static bool trusts(const char *domain)
{
    const unsigned before = n_sets;
    (void)run_until_count(loop, &n_sets, before + 1, 50); /* if it changed, a set comes */
    cr_expect(run_until(loop, is_in_the_set_as_in_force, (void *)(uintptr_t)domain, PATIENCE_MS));
    return trust_find(set->trust, str_from(domain)) != NULL;
}

static void give_bundle(const char *domain, const struct test_ca *ca)
{
    struct text pem = {0};
    test_ca_pem(ca, &pem);
    cr_assert(identities_set_bundle(identities, str_from(domain), text_str(&pem), (struct str){0}));
    text_fini(&pem);
}

Test(identities, begin_with_the_roots_of_the_own_trust_domain, .init = start, .fini = finish)
{
    open_them();
    cr_expect(trusts("west.example"));
    cr_expect_not(trusts("east.example"));
    cr_expect_null(identities_node(identities), "nobody signed it yet");
}

Test(identities, a_root_file_that_is_none_is_named, .init = start, .fini = finish)
{
    struct text why = {0};
    cr_assert_eq(file_write_atomic(config.control_trust_bundle, STR("no root"), 0600), 0);

    cr_expect_lt(identities_open(loop, &config, meter, &events, NULL, &identities, &why), 0);

    cr_expect_not_null(strstr(why.ptr, "root.pem"), "%s", why.ptr);
    cr_expect_null(identities);
    text_fini(&why);
}

Test(identities, a_bundle_that_went_is_trusted_no_more, .init = start, .fini = finish)
{
    const struct str named[] = {STR("east.example")};
    open_them();
    give_bundle("east.example", east);
    cr_expect(trusts("east.example"));

    identities_keep_bundles(identities, named, 1);
    cr_expect(trusts("east.example"));
    identities_keep_bundles(identities, NULL, 0);

    cr_expect_not(trusts("east.example"));
    cr_expect(trusts("west.example"), "our own stays");
}

Test(identities, many_bundles_go_at_once, .init = start, .fini = finish)
{
    char name[32];
    open_them();
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "td-%d.example", i);
        give_bundle(name, east);
    }
    const struct str named[] = {STR("td-7.example")};

    identities_keep_bundles(identities, named, 1);

    cr_expect(trusts("td-7.example"));
    cr_expect_eq((*identities_trust(identities))->bundles.len, 2);
}

Test(identities, a_bundle_that_is_none_changes_nothing, .init = start, .fini = finish)
{
    open_them();
    give_bundle("east.example", east);
    cr_expect_not(
        identities_set_bundle(identities, STR("east.example"), STR("garbage"), (struct str){0}));
    cr_expect(trusts("east.example"));
}

/* ---- pods ---- */

static void follow(uint64_t generation, const struct workload **local, size_t n)
{
    const struct snapshot snapshot = {.generation = generation, .local = local, .n_local = n};
    identities_follow(identities, &snapshot);
    run_turns(loop, 2);
}

static size_t n_wanted(void)
{
    struct rotation_status status;
    size_t n = 0;
    for (size_t idx = 0; rotation_next(identities_rotations(identities)[1], &idx, &status);)
        n++;
    return n;
}

Test(identities, asks_for_local_workloads_before_they_call_and_drops_with_the_last_one,
     .init = start, .fini = finish)
{
    const struct workload one = {.identity = STR("spiffe://west.example/ns/a/sa/b"),
                                 .svid_key = STR("spiffe://west.example/ns/a/sa/b")};
    const struct workload nameless = {0};
    const struct workload *both[] = {&one, &one, &nameless};
    open_them();
    follow(1, both, 3);
    cr_expect_eq(n_wanted(), 1, "one certificate serves all pods of an identity");
    follow(2, both, 1);
    cr_expect_eq(n_wanted(), 1, "a pod of the identity is left");
    follow(3, both, 0);
    cr_expect_eq(n_wanted(), 0, "the last workload left");
}

/* ---- who speaks for a domain ---- */

static size_t n_roots(const char *domain)
{
    const struct bundle *bundle = trust_find(*identities_trust(identities), str_from(domain));
    return bundle ? bundle_n_roots(bundle) : 0;
}

Test(identities, the_roots_of_the_first_connection_go_when_control_says_which_they_are,
     .init = start, .fini = finish)
{
    struct test_ca *next = test_ca_new("west.example");
    open_them();
    give_bundle("west.example", next);
    cr_expect_eq(n_roots("west.example"), 1, "control's word replaces the file's");
    cr_expect(
        identities_set_bundle(identities, STR("west.example"), (struct str){0}, (struct str){0}));
    cr_expect_eq(n_roots("west.example"), 1, "our own roots are never taken back");
    test_ca_free(next);
}

Test(identities, roots_from_a_bundle_file_stand_beside_those_of_control, .init = start,
     .fini = finish)
{
    struct trust_bundle_config bundle = {.trust_domain = STR("west.example"),
                                         .file = path_of("spire.pem")};
    struct test_ca *spire = test_ca_new("west.example");
    struct text pem = {0};
    test_ca_pem(spire, &pem);
    cr_assert_eq(file_write_atomic(bundle.file, text_str(&pem), 0600), 0);
    config.trust_bundles = &bundle;
    config.n_trust_bundles = 1;
    open_them();
    cr_expect_eq(n_roots("west.example"), 2);
    give_bundle("west.example", west);
    cr_expect_eq(n_roots("west.example"), 2, "each source speaks for itself");
    text_fini(&pem);
    test_ca_free(spire);
}

/* ---- other sources ---- */

static struct str write_pair(const char *folder, const char *id)
{
    struct svid *svid = test_svid_new(west, id);
    struct text chain = {0}, key = {0};
    const struct str path = path_of(folder);
    svid_chain_pem(svid, &chain);
    svid_key_pem(svid, &key);
    cr_assert_eq(file_make_dir(path, 0700), 0);
    cr_assert_eq(file_write_atomic(arena_printf(&arena, "%.*s/tls.crt", STR_ARG(path)),
                                   text_str(&chain), 0600),
                 0);
    cr_assert_eq(file_write_atomic(arena_printf(&arena, "%.*s/tls.key", STR_ARG(path)),
                                   text_str(&key), 0600),
                 0);
    text_fini(&chain);
    file_wipe(&key);
    svid_unref(svid);
    return path;
}

static bool has_both(void *id)
{
    return identities_node(identities) && set && tls_set_find(set, str_from(id));
}

Test(identities, the_node_and_its_pods_may_have_their_certificates_from_files, .init = start,
     .fini = finish)
{
    static const char pod_id[] = "spiffe://west.example/ns/a/sa/b";
    const struct workload pod = {.identity = STR("spiffe://west.example/ns/a/sa/b"),
                                 .svid_key = STR("spiffe://west.example/ns/a/sa/b")};
    const struct workload *local[] = {&pod};
    const struct str node = write_pair("node", "spiffe://west.example/isthmus/node/n1");
    config.identity = (struct identity_config){
        .node = IDENTITY_FILES,
        .pods = IDENTITY_FILES,
        .node_certificate = arena_printf(&arena, "%.*s/tls.crt", STR_ARG(node)),
        .node_key = arena_printf(&arena, "%.*s/tls.key", STR_ARG(node)),
        .pods_dir = path_of("pods"),
    };
    cr_assert_eq(file_make_dir(config.identity.pods_dir, 0700), 0);
    (void)write_pair("pods/b", pod_id);
    open_them();
    follow(1, local, 1);
    cr_assert(run_until(loop, has_both, (void *)(uintptr_t)pod_id, PATIENCE_MS));
    cr_expect_eq(access(path_of("svids").ptr, F_OK), -1,
                 "what files gave is not written elsewhere");
}

Test(identities, lists_of_revoked_certificates_come_over_the_stream_and_go_with_it, .init = start,
     .fini = finish)
{
    struct text pem = {0}, crls = {0};
    struct test_crl spec = {0};
    struct str named[] = {STR("east.example")};
    open_them();
    test_ca_pem(east, &pem);
    test_crl_der(east, &spec, &crls);
    cr_assert(identities_set_bundle(identities, named[0], text_str(&pem), text_str(&crls)));
    cr_expect(trusts("east.example"));
    const struct revocations *held = trust_find_crls(set->trust, named[0]);
    cr_assert_not_null(held);
    cr_expect(str_eq(held->der, text_str(&crls)));
    cr_expect_gt(meter_total(METRIC_CRL_NEXT_UPDATE), 0);

    cr_expect(identities_set_bundle(identities, named[0], text_str(&pem), STR("no lists")));
    cr_expect(trusts("east.example"));
    cr_expect_not_null(trust_find_crls(set->trust, named[0]), "the last good ones stay");
    cr_assert(identities_set_bundle(identities, named[0], text_str(&pem), (struct str){0}));
    cr_expect(trusts("east.example"));
    cr_expect_null(trust_find_crls(set->trust, named[0]));
    cr_expect_eq(meter_total(METRIC_CRL_NEXT_UPDATE), 0);
    text_fini(&pem);
    text_fini(&crls);
}
