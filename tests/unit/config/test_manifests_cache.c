#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
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

Test(manifests_cache, a_folder_that_has_lost_all_of_its_files_is_rather_not_mounted)
{
    char path[128];
    struct manifests *first = read_after(10);
    expect_nodes(first, "a b ");
    for (const char *name = "ab"; *name; name++) {
        snprintf(path, sizeof(path), "%s/%c.yaml", folder.dir.path, *name);
        cr_assert_eq(unlink(path), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        cr_expect_null(read_after(20 + i));
        cr_expect(strstr(said(&diag), ": error: the folder holds no manifests any more"), "%s",
                  said(&diag));
    }
    folder_write(&folder, "c.yaml", NODE("c"));
    struct manifests *next = read_after(30);
    expect_nodes(next, "c ");
    manifests_free(first);
    manifests_free(next);
}

Test(manifests_cache, a_folder_that_never_held_any_is_odd_and_no_more)
{
    manifests_cache_free(cache);
    cache = manifests_cache_new();
    cr_assert_eq(unlink(folder_write(&folder, "a.yaml", "")), 0);
    cr_assert_eq(unlink(folder_write(&folder, "b.yaml", "")), 0);
    struct manifests *set = read_after(10);
    expect_nodes(set, "");
    cr_expect(strstr(said(&diag), ": warning: the folder holds no manifests"), "%s", said(&diag));
    manifests_free(set);
}

/* In place, within a tick of the clock, with as many bytes: neither size, times nor inode tell. */
Test(manifests_cache, a_file_that_is_young_is_looked_into_since_a_change_may_not_show)
{
    char path[128];
    struct stat before;
    struct manifests *first = read_after(0);
    snprintf(path, sizeof(path), "%s/b.yaml", folder.dir.path);
    cr_assert_eq(stat(path, &before), 0);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file);
    cr_assert_neq(fputs(NODE("c"), file), EOF);
    cr_assert_eq(fclose(file), 0);
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);

    struct manifests *second = read_after(0);

    expect_nodes(first, "a b ");
    expect_nodes(second, "a c ");
    manifests_free(first);
    manifests_free(second);
}

Test(manifests_cache, a_file_with_the_bytes_that_it_had_is_not_parsed_again)
{
    struct manifests *first = read_after(0);
    folder_write(&folder, "b.yaml", NODE("b"));
    struct manifests *second = read_after(0), *third = read_after(10);

    expect_nodes(third, "a b ");
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(first->nodes[i].meta.name.ptr, second->nodes[i].meta.name.ptr);
        cr_expect_eq(first->nodes[i].meta.name.ptr, third->nodes[i].meta.name.ptr);
    }
    manifests_free(first);
    manifests_free(second);
    manifests_free(third);
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

/* ---- news ---- */

#define POD(name)                                                                                  \
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " name "}\nstatus: {podIP: 10.1.0.1}\n"

static struct manifests_changes changes;
static struct manifests *whole;

/* What is new after ten seconds. */
static enum manifests_news news_of(struct manifests *set)
{
    diag_fini(&diag);
    diag = (struct diag){0};
    return manifests_read_news(cache, folder.dir.path, clock_wall_ns() + (int64_t)(10 * NS_PER_SEC),
                               set, &changes, &whole, &diag);
}

static void expect_pods(const struct k8s_pod *const *pods, size_t n, const char *names)
{
    char all[64] = "";
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%.*s ", STR_ARG(pods[i]->meta.name));
    cr_expect_str_eq(all, names);
}

Test(manifests_cache, news_of_pods_say_who_was_read_and_who_is_gone)
{
    folder_write(&folder, "c.yaml", NODE("c") POD("p1") POD("p2"));
    struct manifests *set = read_after(10);
    folder_write(&folder, "c.yaml", NODE("c") POD("p2") POD("p3"));

    cr_assert_eq(news_of(set), MANIFESTS_PATCHED, "%s", said(&diag));

    expect_pods(changes.pods, changes.n_pods, "p2 p3 ");
    expect_pods(changes.pods_gone, changes.n_pods_gone, "p1 ");
    expect_nodes(set, "a b c ");
    manifests_changes_fini(&changes);
    struct manifests *again = manifests_again(set);
    cr_expect_eq(again->n_pods, 2);
    manifests_free(set);
    expect_nodes(again, "a b c ");
    manifests_free(again);
}

Test(manifests_cache, news_of_anything_else_are_a_whole_set)
{
    static const char *const texts[] = {
        NODE("other") POD("p1"),
        POD("p1"),
        NODE("c") POD("p1") "---\n" NODE("d"),
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        folder_write(&folder, "c.yaml", NODE("c") POD("p1"));
        struct manifests *set = read_after(10);
        folder_write(&folder, "c.yaml", texts[i]);

        cr_expect_eq(news_of(set), MANIFESTS_WHOLE, "row %zu: %s", i, said(&diag));
        cr_expect_eq(set->n_pods, 1);
        manifests_changes_fini(&changes);
        manifests_free(set);
        manifests_free(whole);
    }
}

Test(manifests_cache, news_that_are_wrong_say_what_a_whole_reading_says_and_change_nothing)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"0.yaml", POD("p1"), "c.yaml:5:1: error: Pod default/p1 is there twice, first at"},
        {"d.yaml", POD("p1"), "d.yaml:2:1: error: Pod default/p1 is there twice, first at"},
        {"d.yaml", POD("p1") "spec: 1\n", "d.yaml:6:7: error: spec: "},
    };

    folder_write(&folder, "c.yaml", NODE("c") POD("p1"));
    struct manifests *set = read_after(10);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *path = folder_write(&folder, rows[i].name, rows[i].text);
        cr_expect_eq(news_of(set), MANIFESTS_REFUSED, "row %zu", i);
        expect_said(&diag, rows[i].name, rows[i].said);
        cr_expect_eq(diag.n_errors, 1, "row %zu", i);
        cr_expect_eq(set->n_pods, 1);
        manifests_changes_fini(&changes);
        cr_expect_null(read_after(10));
        expect_said(&diag, rows[i].name, rows[i].said);
        cr_assert_eq(unlink(path), 0);
    }
    cr_expect_eq(news_of(set), MANIFESTS_PATCHED);
    cr_expect_eq(changes.n_pods, 0);
    manifests_changes_fini(&changes);
    manifests_free(set);
}

Test(manifests_cache, a_pod_may_move_to_another_file)
{
    char path[128];
    folder_write(&folder, "c.yaml", POD("p1"));
    struct manifests *set = read_after(10);
    folder_write(&folder, "d.yaml", POD("p1") POD("p2"));
    snprintf(path, sizeof(path), "%s/c.yaml", folder.dir.path);
    cr_assert_eq(unlink(path), 0);

    cr_assert_eq(news_of(set), MANIFESTS_PATCHED, "%s", said(&diag));

    expect_pods(changes.pods, changes.n_pods, "p1 p2 ");
    cr_expect_eq(changes.n_pods_gone, 0);
    manifests_changes_fini(&changes);
    manifests_free(set);
}

Test(manifests_cache, a_changed_slice_or_pod_is_warned_of_as_in_a_whole_reading)
{
    folder_write(&folder, "c.yaml", POD("p1"));
    struct manifests *set = read_after(10);
    folder_write(&folder, "c.yaml", POD("p1") "spec: {nodeName: z}\n");
    folder_write(
        &folder, "d.yaml",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: "
        "{kubernetes.io/service-name: none}}\naddressType: IPv4\n");

    cr_assert_eq(news_of(set), MANIFESTS_PATCHED, "%s", said(&diag));
    manifests_cross_check_changes(set, &changes, &diag);

    expect_said(&diag, "pod", "Pod default/p1: there is no Node \"z\"");
    expect_said(&diag, "slice", "EndpointSlice default/s: there is no Service \"none\"");
    manifests_changes_fini(&changes);
    manifests_free(set);
}
