#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void folder_begin(struct folder *folder)
{
    *folder = (struct folder){.dir = temp_dir_new()};
}

void folder_end(struct folder *folder)
{
    temp_dir_remove(&folder->dir);
    arena_fini(&folder->arena);
}

const char *folder_write(struct folder *folder, const char *name, const char *text)
{
    struct str path = arena_printf(&folder->arena, "%s/%s", folder->dir.path, name);
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/'))
        (void)mkdir(
            arena_printf(&folder->arena, "%s/%.*s", folder->dir.path, (int)(slash - name), name)
                .ptr,
            0700);
    FILE *file = fopen(path.ptr, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(text, 1, strlen(text), file), strlen(text));
    cr_assert_eq(fclose(file), 0);
    return path.ptr;
}

const char *said(const struct diag *diag)
{
    static char buf[16384];
    struct text text = {0};
    diag_print(diag, &text);
    snprintf(buf, sizeof(buf), "%.*s", STR_ARG(text_str(&text)));
    text_fini(&text);
    return buf;
}

void expect_said(const struct diag *diag, const char *row, const char *sentence)
{
    const char *all = said(diag);
    cr_expect(strstr(all, sentence) != NULL, "%s: expected \"%s\", said:\n%s", row, sentence, all);
}

struct manifests *read_text(const char *text, struct diag *diag)
{
    struct folder folder;
    folder_begin(&folder);
    folder_write(&folder, "m.yaml", text);
    struct manifests *set = manifests_read(folder.dir.path, diag);
    folder_end(&folder);
    return set;
}

void expect_one_error(const char *row, const char *text, const char *sentence)
{
    struct diag diag = {0};
    cr_expect_null(read_text(text, &diag), "%s", row);
    cr_expect_eq(diag.n_errors, 1, "%s: %s", row, said(&diag));
    expect_said(&diag, row, sentence);
    diag_fini(&diag);
}
