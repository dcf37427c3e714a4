#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>

#include "certs/digest.h"
#include "certs/store.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "tests/kit/temp_dir.h"
#include "tests/kit/test_ca.h"

static void quiet(void)
{
    log_set_level(LOG_ERROR);
}

TestSuite(store, .init = quiet, .timeout = 60);

#define ID_A "spiffe://td/ns/shop/sa/a"
#define ID_B "spiffe://td/ns/shop/sa/b"

struct seen {
    unsigned n;
    struct svid *svids[4];
};

static void on_svid(void *owner, struct svid *svid)
{
    struct seen *seen = owner;

    seen->svids[seen->n++] = svid;
}

static void forget(struct seen *seen)
{
    for (unsigned i = 0; i < seen->n; i++)
        svid_unref(seen->svids[i]);
    *seen = (struct seen){0};
}

static struct text file_of(const struct temp_dir *dir, const char *kind, const char *subject)
{
    struct text path = {0};

    char digest[DIGEST_HEX_LEN + 1];

    digest_sha256_hex(str_from(subject), digest);
    text_addf(&path, "%s/%s/%s.pem", dir->path, kind, digest);
    return path;
}

static unsigned mode_of(const char *path)
{
    struct stat info;

    cr_assert_eq(stat(path, &info), 0, "%s", path);
    return info.st_mode & 07777;
}

Test(store, gives_svids_back_after_a_restart)
{
    struct temp_dir dir = temp_dir_new();
    struct test_ca *ca = test_ca_new("td");
    struct test_cert middle_spec = {.is_ca = true, .subject = "middle"};
    struct test_ca *middle = test_ca_under(ca, &middle_spec);
    struct svid *svid = test_svid_under(middle, ID_A);
    struct text path = file_of(&dir, "svids", ID_A), folder = {0};
    struct seen seen = {0};

    cr_assert_eq(store_put_svid(temp_dir_path(&dir), svid), 0);
    cr_assert_eq(mode_of(path.ptr), 0600);
    text_addf(&folder, "%s/svids", dir.path);
    cr_assert_eq(mode_of(folder.ptr), 0700);

    store_load_svids(temp_dir_path(&dir), on_svid, &seen);
    cr_assert_eq(seen.n, 1);
    cr_assert(str_eq(seen.svids[0]->id.text, STR(ID_A)));
    cr_assert_eq(X509_cmp(seen.svids[0]->leaf, svid->leaf), 0);
    cr_assert_eq(sk_X509_num(seen.svids[0]->chain), 1);
    cr_assert_eq(EVP_PKEY_eq(seen.svids[0]->key, svid->key), 1);
    forget(&seen);
    svid_unref(svid);
    text_fini(&path);
    text_fini(&folder);
    test_ca_free(middle);
    test_ca_free(ca);
    temp_dir_remove(&dir);
}

Test(store, replaces_and_removes_one_svid_and_leaves_the_others)
{
    struct temp_dir dir = temp_dir_new();
    struct test_ca *ca = test_ca_new("td");
    struct svid *old = test_svid_new(ca, ID_A), *new = test_svid_new(ca, ID_A);
    struct svid *other = test_svid_new(ca, ID_B);
    struct seen seen = {0};

    cr_assert_eq(store_put_svid(temp_dir_path(&dir), old), 0);
    cr_assert_eq(store_put_svid(temp_dir_path(&dir), new), 0);
    store_load_svids(temp_dir_path(&dir), on_svid, &seen);
    cr_assert_eq(seen.n, 1);
    cr_assert(str_eq(seen.svids[0]->serial, new->serial));
    forget(&seen);

    cr_assert_eq(store_put_svid(temp_dir_path(&dir), other), 0);
    store_remove_svid(temp_dir_path(&dir), STR(ID_A));
    store_remove_svid(temp_dir_path(&dir), STR(ID_A));
    store_load_svids(temp_dir_path(&dir), on_svid, &seen);
    cr_assert_eq(seen.n, 1);
    cr_assert(str_eq(seen.svids[0]->id.text, STR(ID_B)));
    forget(&seen);
    svid_unref(old);
    svid_unref(new);
    svid_unref(other);
    test_ca_free(ca);
    temp_dir_remove(&dir);
}

Test(store, skips_what_cannot_be_used_and_gives_the_rest)
{
    struct temp_dir dir = temp_dir_new();
    struct test_ca *ca = test_ca_new("td");
    struct svid *good = test_svid_new(ca, ID_A), *moved = test_svid_new(ca, ID_B);
    struct text path = file_of(&dir, "svids", ID_B), content = {0}, junk = {0}, left = {0};
    struct text stranger = file_of(&dir, "svids", ID_A "/other"), former = {0};
    struct seen seen = {0};

    cr_assert_eq(store_put_svid(temp_dir_path(&dir), good), 0);
    /* The content of another identity under a name that is not its own. */
    cr_assert_eq(store_put_svid(temp_dir_path(&dir), moved), 0);
    cr_assert_eq(file_read_all(text_str(&path), 65536, &content), 0);
    cr_assert_eq(file_remove(text_str(&path)), 0);
    cr_assert_eq(file_write_atomic(text_str(&stranger), text_str(&content), 0600), 0);
    /* A whole one, as names were made before. */
    text_addf(&former, "%s/svids/0123456789abcdef.pem", dir.path);
    cr_assert_eq(file_write_atomic(text_str(&former), text_str(&content), 0600), 0);
    /* A torn file, an empty one, a folder, a leftover of a crash. */
    cr_assert_eq(file_write_atomic(text_str(&path), str_sub(text_str(&content), 0, 700), 0600), 0);
    text_addf(&junk, "%s/svids/empty", dir.path);
    cr_assert_eq(file_write_atomic(text_str(&junk), STR(""), 0600), 0);
    text_clear(&junk);
    text_addf(&junk, "%s/svids/folder", dir.path);
    cr_assert_eq(file_make_dir(text_str(&junk), 0700), 0);
    text_addf(&left, "%s/svids/x.pem.tmp", dir.path);
    cr_assert_eq(file_write_atomic(text_str(&left), text_str(&content), 0600), 0);

    store_load_svids(temp_dir_path(&dir), on_svid, &seen);
    cr_assert_eq(seen.n, 1);
    cr_assert(str_eq(seen.svids[0]->id.text, STR(ID_A)));
    struct stat info;
    cr_assert_neq(stat(left.ptr, &info), 0, "the leftover holds a key and must go");
    cr_assert_neq(stat(former.ptr, &info), 0, "so does what nobody would find again");
    cr_expect_eq(stat(stranger.ptr, &info), 0);
    forget(&seen);
    svid_unref(good);
    svid_unref(moved);
    text_fini(&path);
    text_fini(&content);
    text_fini(&junk);
    text_fini(&left);
    text_fini(&stranger);
    text_fini(&former);
    test_ca_free(ca);
    temp_dir_remove(&dir);
}

Test(store, does_not_give_an_expired_svid)
{
    struct temp_dir dir = temp_dir_new();
    struct test_ca *ca = test_ca_new("td");
    struct test_cert spec = {.uris = {STR(ID_A)}, .from_s = -7200, .until_s = -1};
    struct svid *good = test_svid_new(ca, ID_B), expired = *good;
    struct seen seen = {0};

    expired.leaf = test_ca_mint(ca, &spec, &expired.key);
    cr_assert_eq(spiffe_parse(STR(ID_A), &expired.id, NULL), 0);
    cr_assert_eq(store_put_svid(temp_dir_path(&dir), &expired), 0);
    store_load_svids(temp_dir_path(&dir), on_svid, &seen);
    cr_assert_eq(seen.n, 0);
    X509_free(expired.leaf);
    EVP_PKEY_free(expired.key);
    svid_unref(good);
    test_ca_free(ca);
    temp_dir_remove(&dir);
}

Test(store, nothing_there_is_no_error)
{
    struct temp_dir dir = temp_dir_new();
    struct seen seen = {0};

    store_load_svids(temp_dir_path(&dir), on_svid, &seen);
    store_remove_svid(temp_dir_path(&dir), STR(ID_A));
    cr_assert_eq(seen.n, 0);
    temp_dir_remove(&dir);
}

Test(store, says_when_it_cannot_write)
{
    struct temp_dir dir = temp_dir_new();
    struct test_ca *ca = test_ca_new("td");
    struct svid *svid = test_svid_new(ca, ID_A);
    struct text path = {0};

    text_addf(&path, "%s/file", dir.path);
    cr_assert_eq(file_write_atomic(text_str(&path), STR("x"), 0600), 0);
    cr_assert(store_put_svid(text_str(&path), svid) < 0);
    svid_unref(svid);
    text_fini(&path);
    test_ca_free(ca);
    temp_dir_remove(&dir);
}
