/*
 * Any bytes as a SPIFFE ID: what is accepted is made of the allowed characters only, is its trust
 * domain and its path and nothing else, and names what it says it names.
 */
#include <string.h>

#include "certs/spiffe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct str text, const struct spiffe_id *id)
{
    struct str namespace_, account, node;

    ensure(text.len <= SPIFFE_ID_MAX && str_eq(id->text, text));
    ensure(id->trust_domain.len > 0 && id->trust_domain.len <= 255);
    ensure(9 + id->trust_domain.len + id->path.len == text.len);
    ensure(spiffe_check_trust_domain(id->trust_domain) == 0);
    ensure(id->path.len == 0 || (id->path.len > 1 && id->path.ptr[0] == '/'));
    ensure(!str_contains(id->path, STR("//")) && !str_ends_with(id->path, STR("/")));
    ensure(!str_contains(id->path, STR("/../")) && !str_ends_with(id->path, STR("/..")));
    for (size_t i = 0; i < text.len; i++)
        ensure(text.ptr[i] > ' ' && text.ptr[i] < 0x7f &&
               !strchr("%?#@[]\\\"'<>{}|^`", text.ptr[i]));
    if (spiffe_workload_parts(id, &namespace_, &account))
        ensure(8 + namespace_.len + account.len == id->path.len);
    if (spiffe_node_name(id, &node))
        ensure(node.len > 0 && !str_contains(node, STR("/")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_of(data, size);
    struct spiffe_id id = {0};
    const char *why = NULL;

    if (spiffe_parse(text, &id, &why) == 0)
        check(text, &id);
    else
        ensure(why);
    return 0;
}
