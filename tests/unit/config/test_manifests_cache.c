#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "fixture.h"
#include "proxy/base/clock.h"

#define NODE(name) "apiVersion: v1\nkind: Node\nmetadata: {name: " name "}\n"

static struct folder folder;
static struct manifests_cache *cache;
static struct diag diag;

static void init(void)
{
    folder_begin(&folder);
    cache = manifests_cache_new();
    folder_write(&folder, "a.yaml", NODE("a"));
    folder_write(&folder, "b.yaml", NODE("b"));
}

static void fini(void)
{
    manifests_cache_free(cache);
    diag_fini(&diag);
    folder_end(&folder);
}

TestSuite(manifests_cache, .init = init, .fini = fini);

/* As a reader would who comes that much later than now. */
static struct manifests *read_after(unsigned after_s)
{
    diag_fini(&diag);
    diag = (struct diag){0};
    return manifests_read_cached(cache, folder.dir.path,
                                 clock_wall_ns() + (int64_t)(after_s * NS_PER_SEC), &diag);
}

static void expect_nodes(const struct manifests *set, const char *names)
{
    char all[64] = "";
    size_t len = 0;
    cr_assert_not_null(set, "%s", said(&diag));
    for (size_t i = 0; i < set->n_nodes; i++)
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%.*s ",
                                STR_ARG(set->nodes[i].meta.name));
    cr_expect_str_eq(all, names);
}

Test(manifests_cache, a_file_that_did_not_change_is_not_read_again)
{
    struct manifests *first = read_after(10);
    folder_write(&folder, "b.yaml", NODE("other"));
    struct manifests *second = read_after(10);

    expect_nodes(first, "a b ");
    expect_nodes(second, "a other ");
    cr_expect_eq(first->nodes[0].meta.name.ptr, second->nodes[0].meta.name.ptr);
    manifests_free(first);
    expect_nodes(second, "a other ");
    manifests_free(second);
}

Test(manifests_cache, a_file_that_is_young_is_read_again_since_a_change_may_not_show)
{
    struct manifests *first = read_after(0), *second = read_after(0);

    cr_expect_neq(first->nodes[0].meta.name.ptr, second->nodes[0].meta.name.ptr);
    expect_nodes(second, "a b ");
    manifests_free(first);
    manifests_free(second);
}

Test(manifests_cache, files_come_and_go)
{
    char path[128];
    struct manifests *set = read_after(10);
    manifests_free(set);
    snprintf(path, sizeof(path), "%s/a.yaml", folder.dir.path);
    cr_assert_eq(unlink(path), 0);
    folder_write(&folder, "c.yaml", NODE("c"));

    set = read_after(10);

    expect_nodes(set, "b c ");
    cr_expect_eq(set->n_files, 2);
    manifests_free(set);
}

Test(manifests_cache, a_wrong_file_is_told_every_time_and_read_again_when_it_is_mended)
{
    struct manifests *set;
    manifests_free(read_after(10));
    folder_write(&folder, "b.yaml", "kind: Node\nmetadata: {name: b}\n");
    for (unsigned i = 0; i < 2; i++) {
        cr_expect_null(read_after(10));
        cr_expect_eq(diag.n_errors, 1);
        expect_said(&diag, "wrong", "b.yaml:1:1: error: apiVersion: is required");
    }
    folder_write(&folder, "b.yaml", NODE("b"));
    set = read_after(10);
    expect_nodes(set, "a b ");
    manifests_free(set);
}

Test(manifests_cache, warnings_of_unchanged_files_are_told_again)
{
    folder_write(&folder, "c.yaml",
                 "apiVersion: multicluster.xk8s.io/v1alpha1\nkind: ServiceExport\n");
    for (unsigned i = 0; i < 2; i++) {
        manifests_free(read_after(10));
        expect_said(&diag, "warning", "c.yaml:2:7: warning: kind: ServiceExport of");
    }
}

Test(manifests_cache, two_objects_of_one_name_in_two_files_are_told)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {NODE("a"), "c.yaml:1:1: error: Node a is there twice, first at /"},
        {"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: n}\n---\n"
         "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: n}\n",
         "c.yaml:5:1: error: Pod n/p is there twice, first at /"},
    };

    manifests_free(read_after(10));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        folder_write(&folder, "c.yaml", rows[i].text);
        cr_expect_null(read_after(10));
        cr_expect_eq(diag.n_errors, 1, "%s", said(&diag));
        expect_said(&diag, "twice", rows[i].said);
    }
}

Test(manifests_cache, a_set_outlives_the_cache)
{
    struct manifests *set = read_after(10);
    manifests_cache_free(cache);
    cache = NULL;
    expect_nodes(set, "a b ");
    manifests_free(set);
}

Test(manifests_cache, a_folder_that_is_not_there_is_told)
{
    cr_expect_null(manifests_read_cached(cache, "/nonexistent", clock_wall_ns(), &diag));
    expect_said(&diag, "folder", "/nonexistent: error: the folder cannot be opened");
}
