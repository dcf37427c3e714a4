/* Who may write into the folder that holds keys. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/arena.h"
#include "proxy/base/err.h"
#include "proxy/run/state_dir.h"
#include "tests/kit/temp_dir.h"

static struct temp_dir dir;
static struct arena arena;
static struct str path; /* of the state folder; ends with a NUL */

static void init(void)
{
    dir = temp_dir_new();
    path = arena_printf(&arena, "%.*s/state", STR_ARG(temp_dir_path(&dir)));
}

static void fini(void)
{
    temp_dir_remove(&dir);
    arena_fini(&arena);
}

TestSuite(state_dir, .init = init, .fini = fini, .timeout = 20);

/* What is said when it is refused; "" when it is taken. The caller frees. */
static struct text taken(void)
{
    struct text why = {0};
    int fd = -1;
    const int err = state_dir_take(path, &fd, &why);

    cr_expect_eq(err == 0, why.len == 0, "%s", why.ptr);
    cr_expect_eq(err == 0, fd >= 0);
    state_dir_release(fd);
    return why;
}

static bool has_lock(void)
{
    struct stat info;
    const struct str lock = arena_printf(&arena, "%.*s/lock", STR_ARG(path));

    return stat(lock.ptr, &info) == 0;
}

Test(state_dir, a_new_one_is_ours_alone)
{
    struct stat info;

    (void)umask(0);
    struct text why = taken();
    cr_expect_eq(why.len, 0, "%s", why.ptr);
    cr_assert_eq(stat(path.ptr, &info), 0);
    cr_expect_eq(info.st_mode & 07777, 0700);
    text_fini(&why);
}

Test(state_dir, one_that_others_may_write_into_is_refused_and_left_alone)
{
    static const struct {
        mode_t mode;
        bool is_good;
    } rows[] = {
        {0700, true},  {0750, true},  {0755, true},  {02750, true},
        {0770, false}, {0707, false}, {0720, false}, {01777, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cr_assert_eq(mkdir(path.ptr, 0700), 0);
        cr_assert_eq(chmod(path.ptr, rows[i].mode), 0);
        struct text why = taken();
        cr_expect_eq(why.len == 0, rows[i].is_good, "%o: %s", rows[i].mode, why.ptr);
        cr_expect_eq(has_lock(), rows[i].is_good, "%o", rows[i].mode);
        if (!rows[i].is_good) {
            struct text expected = {0};
            text_addf(&expected, "stateDir %s: its mode is 0%o", path.ptr, rows[i].mode);
            cr_expect(str_starts_with(text_str(&why), text_str(&expected)), "%s", why.ptr);
            cr_expect(strstr(why.ptr, "chmod go-w "), "%s", why.ptr);
            text_fini(&expected);
        }
        text_fini(&why);
        temp_dir_remove(&dir);
        cr_assert_eq(mkdir(dir.path, 0700), 0);
    }
}

Test(state_dir, one_of_another_user_is_refused_and_one_of_root_is_not)
{
    if (geteuid() != 0)
        cr_skip("needs root, to give a folder away");
    cr_assert_eq(mkdir(path.ptr, 0755), 0);
    cr_assert_eq(chown(path.ptr, 4711, 4711), 0);
    struct text why = taken();
    cr_expect(strstr(why.ptr ? why.ptr : "", "it belongs to user 4711"), "%s", why.ptr);
    cr_expect_not(has_lock());
    text_fini(&why);

    cr_assert_eq(chown(path.ptr, 0, 4711), 0);
    why = taken();
    cr_expect_eq(why.len, 0, "%s", why.ptr);
    text_fini(&why);
}

Test(state_dir, what_is_no_folder_or_in_use_is_told)
{
    struct text why = {0};
    int fd = -1, other = -1;

    cr_assert_eq(state_dir_take(path, &fd, &why), 0);
    cr_expect_eq(state_dir_take(path, &other, &why), -ERR_AGAIN);
    cr_expect(strstr(why.ptr, "another process uses it"), "%s", why.ptr);
    state_dir_release(fd);
    text_clear(&why);
    path = arena_printf(&arena, "%.*s/lock", STR_ARG(path));
    cr_expect_lt(state_dir_take(path, &other, &why), 0);
    cr_expect(strstr(why.ptr, "Not a directory"), "%s", why.ptr);
    text_fini(&why);
}
