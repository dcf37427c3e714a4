#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/bundle_files.h"
#include "certs/file_source.h"
#include "certs/jwks.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/temp_dir.h"
#include "tests/kit/test_ca.h"

#define NODE        "spiffe://td/isthmus/node/n1"
#define POD         "spiffe://td/ns/shop/sa/cart"
#define PATIENCE_MS 10000

static struct loop *loop;
static struct temp_dir dir;
static struct test_ca *ca;
static struct arena arena;
static struct file_source *source;
static struct rotation *rotation;
static unsigned n_svids, n_failed;
static char last_why[512];

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    (void)owner, (void)id;
    n_svids += svid != NULL;
}

static void on_failed(void *owner, struct str id, struct str why)
{
    (void)owner, (void)id;
    n_failed++;
    snprintf(last_why, sizeof(last_why), "%.*s", STR_ARG(why));
}

static const struct rotation_events events = {on_svid, on_failed};

static struct str path_of(const char *name)
{
    return arena_printf(&arena, "%.*s/%s", STR_ARG(temp_dir_path(&dir)), name);
}

static void start(void)
{
    log_set_level(LOG_ERROR);
    loop = loop_new();
    dir = temp_dir_new();
    ca = test_ca_new("td");
}

static void finish(void)
{
    if (rotation)
        rotation_free(rotation);
    file_source_free(source);
    test_ca_free(ca);
    temp_dir_remove(&dir);
    arena_fini(&arena);
    loop_finish(loop);
}

TestSuite(file_source, .init = start, .fini = finish, .timeout = 60);

/* A folder with a new pair. */
static void write_pair(const char *folder, const char *id)
{
    struct svid *svid = test_svid_new(ca, id);
    struct text chain = {0}, key = {0};
    char name[200];

    svid_chain_pem(svid, &chain);
    svid_key_pem(svid, &key);
    cr_assert_eq(file_make_dir(path_of(folder), 0700), 0);
    snprintf(name, sizeof(name), "%s/tls.crt", folder);
    cr_assert_eq(file_write_atomic(path_of(name), text_str(&chain), 0600), 0);
    snprintf(name, sizeof(name), "%s/tls.key", folder);
    cr_assert_eq(file_write_atomic(path_of(name), text_str(&key), 0600), 0);
    text_fini(&chain);
    file_wipe(&key);
    svid_unref(svid);
}

static void follow(struct file_source *which, const char *id)
{
    source = which;
    rotation = rotation_new(loop, file_source_source(source), &events, NULL);
    rotation_want(rotation, str_from(id));
}

Test(file_source, gives_the_pair_of_the_node)
{
    write_pair("node", NODE);
    follow(file_source_pair(loop, path_of("node/tls.crt"), path_of("node/tls.key")), NODE);
    cr_assert(run_until_count(loop, &n_svids, 1, PATIENCE_MS));
    cr_expect_not_null(rotation_find(rotation, STR(NODE)));
}

Test(file_source, sees_the_swap_of_a_link_as_kubernetes_makes_it)
{
    write_pair("..1", NODE);
    cr_assert_eq(symlink("..1", path_of("..data").ptr), 0);
    cr_assert_eq(symlink("..data/tls.crt", path_of("tls.crt").ptr), 0);
    cr_assert_eq(symlink("..data/tls.key", path_of("tls.key").ptr), 0);
    follow(file_source_pair(loop, path_of("tls.crt"), path_of("tls.key")), NODE);
    cr_assert(run_until_count(loop, &n_svids, 1, PATIENCE_MS));

    write_pair("..2", NODE);
    cr_assert_eq(symlink("..2", path_of("..next").ptr), 0);
    cr_assert_eq(rename(path_of("..next").ptr, path_of("..data").ptr), 0);
    cr_assert(run_until_count(loop, &n_svids, 2, PATIENCE_MS));
}

Test(file_source, never_uses_a_certificate_with_a_key_that_does_not_fit)
{
    write_pair("node", NODE);
    write_pair("next", NODE);
    follow(file_source_pair(loop, path_of("node/tls.crt"), path_of("node/tls.key")), NODE);
    cr_assert(run_until_count(loop, &n_svids, 1, PATIENCE_MS));
    struct svid *before = rotation_find(rotation, STR(NODE));

    cr_assert_eq(rename(path_of("next/tls.crt").ptr, path_of("node/tls.crt").ptr), 0);
    cr_assert(run_until_count(loop, &n_failed, 1, PATIENCE_MS));
    cr_expect_not_null(strstr(last_why, "node/tls.crt"), "%s", last_why);
    cr_expect_not_null(strstr(last_why, "key does not fit"), "%s", last_why);
    cr_expect_eq(rotation_find(rotation, STR(NODE)), before, "what was read before stays");

    cr_assert_eq(rename(path_of("next/tls.key").ptr, path_of("node/tls.key").ptr), 0);
    cr_assert(run_until_count(loop, &n_svids, 2, PATIENCE_MS), "%s", last_why);
}

Test(file_source, a_missing_file_is_told_with_its_name)
{
    follow(file_source_pair(loop, path_of("no.crt"), path_of("no.key")), NODE);
    cr_assert(run_until_count(loop, &n_failed, 1, PATIENCE_MS));
    cr_expect_not_null(strstr(last_why, "no.crt: No such file"), "%s", last_why);
}

Test(file_source, a_pair_of_another_identity_is_told_with_both)
{
    write_pair("node", POD);
    follow(file_source_pair(loop, path_of("node/tls.crt"), path_of("node/tls.key")), NODE);
    cr_assert(run_until_count(loop, &n_failed, 1, PATIENCE_MS));
    cr_expect_not_null(strstr(last_why, POD), "%s", last_why);
    cr_expect_eq(n_svids, 0);
}

Test(file_source, finds_pods_in_a_folder_by_what_their_certificates_say)
{
    write_pair("pods", NODE); /* files beside the folders harm nobody */
    write_pair("pods/any-name", POD);
    write_pair("pods/other", "spiffe://td/ns/shop/sa/other");
    follow(file_source_folder(loop, path_of("pods")), POD);
    cr_assert(run_until_count(loop, &n_svids, 1, PATIENCE_MS), "%s", last_why);
    write_pair("pods/any-name", POD);
    file_source_read(source);
    cr_assert(run_until_count(loop, &n_svids, 2, PATIENCE_MS));
}

/* ---- bundles ---- */

static unsigned n_bundles;
static struct text said;

static void on_bundle(void *owner, struct str trust_domain, struct str pem)
{
    (void)owner;
    cr_expect(str_eq(trust_domain, STR("td")));
    text_clear(&said);
    text_add(&said, pem);
    n_bundles++;
}

static unsigned n_crls;

static void on_crls(void *owner, struct str trust_domain, struct str crls)
{
    (void)owner, (void)trust_domain, (void)crls;
    n_crls++;
}

Test(file_source, a_file_of_revocation_lists_that_holds_none_is_told_with_its_name)
{
    struct text why = {0};
    struct bundle_files *files = bundle_files_new(loop, on_bundle, on_crls, NULL);

    cr_assert_eq(file_write_atomic(path_of("td.crl"), STR("no list"), 0600), 0);
    bundle_files_add_crls(files, STR("td"), path_of("td.crl"));
    cr_expect_lt(bundle_files_read(files, &why), 0);
    cr_expect_not_null(strstr(why.ptr, "td.crl: "), "%s", why.ptr);
    cr_expect_eq(n_crls, 0);
    bundle_files_free(files);
    text_fini(&why);
}

Test(file_source, a_bundle_file_is_pem_or_a_key_set_and_is_read_again)
{
    struct text pem = {0}, json = {0}, why = {0};
    struct bundle_files *files = bundle_files_new(loop, on_bundle, on_crls, NULL);

    struct test_ca *other = test_ca_new("td");
    struct text other_pem = {0};

    test_ca_pem(ca, &pem);
    test_ca_pem(other, &other_pem);
    cr_assert_eq(jwks_write(text_str(&other_pem), 1, 300, &json, &why), 0);
    cr_assert_eq(file_write_atomic(path_of("td.bundle"), text_str(&pem), 0600), 0);
    bundle_files_add(files, STR("td"), path_of("td.bundle"));
    cr_assert_eq(bundle_files_read(files, &why), 0, "%s", why.ptr);
    cr_assert_eq(n_bundles, 1);
    cr_expect(str_eq(text_str(&said), text_str(&pem)));
    cr_assert_eq(bundle_files_read(files, &why), 0);
    cr_assert_eq(n_bundles, 1, "the same again is no news");

    cr_assert_eq(file_write_atomic(path_of("td.bundle"), text_str(&json), 0600), 0);
    cr_assert(run_until_count(loop, &n_bundles, 2, PATIENCE_MS));
    cr_expect(str_eq(text_str(&said), text_str(&other_pem)), "the roots out of the other form");
    test_ca_free(other);
    text_fini(&other_pem);

    cr_assert_eq(file_write_atomic(path_of("td.bundle"), STR("{"), 0600), 0);
    cr_expect_lt(bundle_files_read(files, &why), 0);
    cr_expect_not_null(strstr(why.ptr, "td.bundle: "), "%s", why.ptr);
    cr_expect_eq(n_bundles, 2, "what it said before stays");
    bundle_files_free(files);
    text_fini(&pem);
    text_fini(&json);
    text_fini(&why);
    text_fini(&said);
}
