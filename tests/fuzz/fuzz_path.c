/*
 * fuzz_path.c - any bytes as a request's target. What is taken is in one form, whichever rules made
 * it: read again it stays, and nothing in it could be read in another way.
 */
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/ensure.h"
#include "proxy/http/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_form(struct str path, enum http_path_rules rules)
{
    if (str_eq(path, STR("*")))
        return;
    ensure(path.len > 0 && path.ptr[0] == '/');
    ensure(!str_contains(path, STR("/./")) && !str_contains(path, STR("/../")));
    ensure(!str_ends_with(path, STR("/.")) && !str_ends_with(path, STR("/..")));
    ensure(!str_contains(path, STR("\\")) && !str_contains(path, STR("%00")));
    ensure(rules == HTTP_PATH_BASE || !str_contains(path, STR("//")));
    for (size_t i = 0; i < path.len; i++)
        ensure((unsigned char)path.ptr[i] > ' ' && (unsigned char)path.ptr[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum http_path_rules all[] = {HTTP_PATH_MERGE_SLASHES, HTTP_PATH_BASE,
                                               HTTP_PATH_DECODE_AND_MERGE_SLASHES};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct arena arena = {0};
        struct http_path path, again;
        const char *why = NULL;
        if (http_path_normalize(str_of(data, size), all[i], &arena, &path, &why)) {
            ensure(why);
        } else {
            check_form(path.path, all[i]);
            ensure(http_path_normalize(path.target, all[i], &arena, &again, &why) == 0);
            ensure(str_eq(path.target, again.target) && str_eq(path.query, again.query));
        }
        arena_fini(&arena);
    }
    return 0;
}
