#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/io/process.h"
#include "tests/kit/loop_kit.h"

TestSuite(folder_watch, .timeout = 20);

#define QUIET_NS    (20 * NS_PER_MS)
#define PATIENCE_MS 5000

static struct loop *loop;
static struct folder_watch *watch;
static char root[] = "/tmp/isthmus-watch-XXXXXX";
static unsigned n_changes;

static void on_change(void *owner)
{
    cr_expect_eq(owner, &n_changes);
    n_changes++;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static void start(void)
{
    cr_assert_not_null(mkdtemp(root));
    cr_assert_eq(chdir(root), 0);
    loop = loop_new();
}

static void watch_path(const char *path, uint64_t rescan_ns)
{
    watch = folder_watch_open(loop, path, QUIET_NS, rescan_ns, on_change, &n_changes);
}

static void finish(void)
{
    folder_watch_close(watch);
    loop_finish(loop);
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void make_folder(const char *path)
{
    cr_assert_eq(mkdir(path, 0700), 0, "%s", path);
}

/* As kubelet does it: a new link beside the old one, renamed over it. */
static void swap_link(const char *target, const char *temporary, const char *link)
{
    cr_assert_eq(symlink(target, temporary), 0);
    cr_assert_eq(rename(temporary, link), 0);
}

static void expect_change(const char *what)
{
    cr_assert(run_until_count(loop, &n_changes, 1, PATIENCE_MS), "not noticed: %s", what);
    n_changes = 0;
}

static bool was_told(void *ctx)
{
    (void)ctx;
    return n_changes > 0;
}

/* Longer than the quiet time: whatever was noticed would have been told. */
static void expect_no_change(const char *what)
{
    cr_expect_not(run_until(loop, was_told, NULL, 4 * QUIET_NS / NS_PER_MS), "told: %s", what);
}

Test(folder_watch, tells_of_files_that_come_change_and_go)
{
    start();
    make_folder("f");
    watch_path("f", 0);
    expect_no_change("opening it");
    put("f/a", "1");
    expect_change("a new file");
    put("f/a", "22");
    expect_change("a changed file");
    put("a.tmp", "333");
    cr_assert_eq(rename("a.tmp", "f/a"), 0);
    expect_change("a replaced file");
    cr_assert_eq(unlink("f/a"), 0);
    expect_change("a file that is gone");
    put("unrelated", "1");
    expect_no_change("a file beside the folder");
    finish();
}

Test(folder_watch, a_burst_of_changes_is_told_once)
{
    start();
    make_folder("f");
    watch_path("f/", 0);
    uint64_t start_ns = clock_mono_ns();
    for (unsigned idx = 0; idx < 50; idx++) {
        put("f/a", "1");
        loop_turn(loop, false);
    }
    uint64_t burst_ns = clock_mono_ns() - start_ns;
    run_until(loop, was_told, NULL, 4 * QUIET_NS / NS_PER_MS);
    cr_expect_geq(n_changes, 1);
    cr_expect_leq(n_changes, 1 + burst_ns / QUIET_NS, "a slow machine makes pauses in the burst");
    finish();
}

static bool keep_writing(void *ctx)
{
    (void)ctx;
    put("f/a", "again");
    return n_changes > 0;
}

Test(folder_watch, a_burst_without_end_is_told_in_bounded_time)
{
    start();
    make_folder("f");
    watch_path("f", 0);
    cr_assert(run_until(loop, keep_writing, NULL, PATIENCE_MS));
    finish();
}

Test(folder_watch, sees_the_link_swap_of_a_mounted_volume_again_and_again)
{
    static const char *const paths[] = {"v", "v/config.yaml"};
    start();
    for (size_t row = 0; row < ARRAY_LEN(paths); row++) {
        make_folder("v");
        make_folder("v/..1");
        put("v/..1/config.yaml", "one");
        cr_assert_eq(symlink("..1", "v/..data"), 0);
        cr_assert_eq(symlink("..data/config.yaml", "v/config.yaml"), 0);
        watch_path(paths[row], 0);

        make_folder("v/..2");
        put("v/..2/config.yaml", "two");
        swap_link("..2", "v/..data_tmp", "v/..data");
        nftw("v/..1", remove_one, 8, FTW_DEPTH | FTW_PHYS);
        expect_change(paths[row]);
        make_folder("v/..3");
        put("v/..3/config.yaml", "three");
        swap_link("..3", "v/..data_tmp", "v/..data");
        expect_change(paths[row]);
        put("v/..3/config.yaml", "three and a half");
        if (row == 1)
            expect_change("a write to where the link leads now");

        folder_watch_close(watch);
        loop_turn(loop, false);
        nftw("v", remove_one, 8, FTW_DEPTH | FTW_PHYS);
        n_changes = 0;
    }
    make_folder("v");
    watch_path("v", 0);
    finish();
}

Test(folder_watch, follows_a_folder_that_is_a_link_to_where_it_leads_after_the_swap)
{
    start();
    make_folder("old");
    make_folder("new");
    cr_assert_eq(symlink("old", "current"), 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/current", root);
    watch_path(path, 0);
    swap_link("new", "tmp", "current");
    expect_change("the swap");
    put("new/a", "1");
    expect_change("a file in the new folder");
    finish();
}

Test(folder_watch, waits_for_a_path_that_does_not_exist_yet)
{
    start();
    watch_path("later", 0);
    make_folder("later");
    expect_change("the folder came");
    put("later/a", "1");
    expect_change("a file in it");
    cr_assert_eq(unlink("later/a"), 0);
    cr_assert_eq(rmdir("later"), 0);
    expect_change("it went");
    make_folder("later");
    expect_change("it came again");
    finish();
}

Test(folder_watch, rescans_without_any_notice)
{
    start();
    watch_path("no/such/folder", 30 * NS_PER_MS);
    cr_assert(run_until_count(loop, &n_changes, 3, PATIENCE_MS));
    finish();
}

static void close_and_count(void *owner)
{
    (void)owner;
    n_changes++;
    folder_watch_close(watch);
}

Test(folder_watch, may_be_closed_inside_its_callback)
{
    start();
    make_folder("f");
    watch = folder_watch_open(loop, "f", QUIET_NS, 30 * NS_PER_MS, close_and_count, NULL);
    put("f/a", "1");
    expect_change("the file");
    expect_no_change("after the close");
    watch_path("f", 0);
    finish();
}
