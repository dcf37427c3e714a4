#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"

TestSuite(file, .timeout = 10);

/* A folder of the test's own; base tests do not use the kit, which stands on higher rooms. */
static char dir[32];

static void make_dir(void)
{
    strcpy(dir, "/tmp/isthmus-test-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static struct str path_of(const char *name)
{
    static char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return str_from(path);
}

static void clean(const char *const *names, size_t n_names)
{
    for (size_t i = 0; i < n_names; i++)
        (void)remove(path_of(names[i]).ptr);
    cr_assert_eq(rmdir(dir), 0, "something was left behind in %s", dir);
}

Test(file, reads_back_what_it_wrote)
{
    static const char *const names[] = {"f"};
    static char big[300000];
    const struct str contents[] = {STR(""), STR("a"), STR("nul\0inside"), {big, sizeof(big)}};

    make_dir();
    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        struct text text = {0};

        cr_assert_eq(file_write_atomic(path_of("f"), contents[i], 0600), 0);
        cr_assert_eq(file_read_all(path_of("f"), sizeof(big), &text), 0);
        cr_assert(str_eq(text_str(&text), contents[i]), "row %zu", i);
        cr_assert_eq(text.ptr[text.len], '\0');
        file_wipe(&text);
        cr_assert_null(text.ptr);
    }
    clean(names, 1);
}

Test(file, refuses_what_is_longer_than_allowed_and_takes_what_is_as_long)
{
    static const char *const names[] = {"f"};
    struct text text = {0};

    make_dir();
    cr_assert_eq(file_write_atomic(path_of("f"), STR("12345"), 0600), 0);
    cr_assert_eq(file_read_all(path_of("f"), 4, &text), -ERR_LIMIT);
    cr_assert_null(text.ptr);
    cr_assert_eq(file_read_all(path_of("f"), 5, &text), 0);
    file_wipe(&text);
    clean(names, 1);
}

Test(file, reads_files_that_do_not_tell_their_size)
{
    struct text text = {0};

    cr_assert_eq(file_read_all(STR("/proc/self/status"), 65536, &text), 0);
    cr_assert(str_starts_with(text_str(&text), STR("Name:")));
    file_wipe(&text);
    cr_assert_eq(file_read_all(STR("/proc/self/status"), 10, &text), -ERR_LIMIT);
}

Test(file, says_what_is_not_there_or_not_a_file)
{
    static const char *const names[] = {"pipe"};
    struct text text = {0};

    make_dir();
    cr_assert_eq(file_read_all(path_of("none"), 10, &text), -ERR_NOT_FOUND);
    cr_assert_eq(file_read_all(str_from(dir), 10, &text), -ERR_INVALID);
    cr_assert_eq(file_read_all(STR("/tmp/a\0b"), 10, &text), -ERR_INVALID);
    cr_assert_eq(file_read_all(STR(""), 10, &text), -ERR_INVALID);
    cr_assert_eq(mkfifo(path_of("pipe").ptr, 0600), 0);
    cr_assert_eq(file_read_all(path_of("pipe"), 10, &text), -ERR_INVALID, "it must not hang");
    cr_assert_null(text.ptr);
    clean(names, 1);
}

Test(file, a_new_file_has_the_mode_and_the_old_one_is_replaced_whole)
{
    static const char *const names[] = {"f"};
    struct text text = {0};
    struct stat info;

    make_dir();
    cr_assert_eq(file_write_atomic(path_of("f"), STR("a longer text"), 0644), 0);
    cr_assert_eq(file_write_atomic(path_of("f"), STR("short"), 0600), 0);
    cr_assert_eq(stat(path_of("f").ptr, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    cr_assert_eq(file_read_all(path_of("f"), 100, &text), 0);
    cr_assert(str_eq(text_str(&text), STR("short")));
    file_wipe(&text);
    clean(names, 1);
}

Test(file, a_link_in_the_place_of_the_temporary_is_replaced_and_not_followed)
{
    static const char *const names[] = {"f", "victim"};
    struct text text = {0};
    char target[PATH_MAX];

    make_dir();
    cr_assert_eq(file_write_atomic(path_of("victim"), STR("precious"), 0600), 0);
    strcpy(target, path_of("victim").ptr);
    cr_assert_eq(symlink(target, path_of("f.tmp").ptr), 0);
    cr_assert_eq(file_write_atomic(path_of("f"), STR("secret"), 0600), 0);
    cr_assert_eq(file_read_all(path_of("victim"), 100, &text), 0);
    cr_assert(str_eq(text_str(&text), STR("precious")));
    file_wipe(&text);
    clean(names, 2);
}

Test(file, a_failed_write_leaves_nothing_behind)
{
    static const char *const names[] = {"sub/x", "sub"};

    make_dir();
    cr_assert_eq(file_write_atomic(path_of("none/f"), STR("x"), 0600), -ERR_NOT_FOUND);
    /* A folder that is not empty cannot be renamed over. */
    cr_assert_eq(file_make_dir(path_of("sub"), 0700), 0);
    cr_assert_eq(file_write_atomic(path_of("sub/x"), STR("x"), 0600), 0);
    cr_assert_eq(file_write_atomic(path_of("sub"), STR("y"), 0600), -ERR_SYSTEM);
    clean(names, 2);
}

Test(file, makes_a_folder_once)
{
    static const char *const names[] = {"sub", "f"};

    make_dir();
    cr_assert_eq(file_make_dir(path_of("sub"), 0700), 0);
    cr_assert_eq(file_make_dir(path_of("sub"), 0700), 0);
    cr_assert_eq(file_make_dir(path_of("no/sub"), 0700), -ERR_NOT_FOUND);
    cr_assert_eq(file_write_atomic(path_of("f"), STR("x"), 0600), 0);
    cr_assert_eq(file_make_dir(path_of("f"), 0700), -ERR_INVALID);
    clean(names, 2);
}

Test(file, removing_what_is_not_there_is_fine)
{
    make_dir();
    cr_assert_eq(file_write_atomic(path_of("f"), STR("x"), 0600), 0);
    cr_assert_eq(file_remove(path_of("f")), 0);
    cr_assert_eq(file_remove(path_of("f")), 0);
    cr_assert_eq(file_remove(str_from(dir)), -ERR_SYSTEM);
    clean(NULL, 0);
}

static void count(void *owner, struct str name)
{
    cr_assert_not(str_eq(name, STR(".")));
    (*(unsigned *)owner)++;
}

Test(file, visits_the_names_of_a_folder_up_to_a_bound)
{
    static const char *const names[] = {"a", "b", "c"};
    unsigned n = 0;

    make_dir();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        cr_assert_eq(file_write_atomic(path_of(names[i]), STR("x"), 0600), 0);
    cr_assert_eq(file_each_name(str_from(dir), 3, count, &n), 0);
    cr_assert_eq(n, 3);
    n = 0;
    cr_assert_eq(file_each_name(str_from(dir), 2, count, &n), -ERR_LIMIT);
    cr_assert_eq(n, 2);
    cr_assert_eq(file_each_name(path_of("none"), 10, count, &n), -ERR_NOT_FOUND);
    clean(names, 3);
}

Test(file, a_folder_is_one_processs_until_it_lets_go)
{
    static const char *const names[] = {"lock"};
    int first = -1, second = -1;

    make_dir();
    cr_assert_eq(file_lock_dir(str_from(dir), &first), 0);
    cr_expect_eq(file_lock_dir(str_from(dir), &second), -ERR_AGAIN);
    cr_expect_eq(second, -1);
    (void)close(first);
    cr_assert_eq(file_lock_dir(str_from(dir), &second), 0);
    (void)close(second);
    cr_expect_eq(file_lock_dir(STR("/nowhere/at/all"), &first), -ERR_NOT_FOUND);
    clean(names, 1);
}
