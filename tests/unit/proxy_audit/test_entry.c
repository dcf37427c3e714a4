/* A record becomes one line of JSON, whatever is in its names. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <jansson.h>

#include "proxy/audit/line.h"

TestSuite(audit_entry, .timeout = 10);

static struct audit_entry entry;

static json_t *sealed(struct text *line)
{
    struct audit_chain chain;
    struct audit_line read;
    chain_init(&chain);
    chain_seal(&chain, entry_end(&entry), STR(",\"node\":\"n1\""), line);
    cr_assert(eq(int, line->ptr[line->len - 1], '\n'));
    cr_assert(line_read(str_sub(text_str(line), 0, line->len - 1), &read));
    json_t *json = json_loadb(line->ptr, line->len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(json != NULL, "%s", line->ptr);
    return json;
}

static const char *text_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static bool is_true(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    return json_is_true(value);
}

Test(audit_entry, every_kind_of_value_comes_back_under_its_name)
{
    struct text line = {0};
    struct addr addr;
    cr_assert(eq(int, addr_parse(STR("[fd00::1]:8080"), &addr), 0));
    entry_begin(&entry, AUDIT_VERDICT, INT64_C(1700000000123456789));
    entry_cstr(&entry, AUDIT_CONNECTION, "a-0-1");
    entry_addr(&entry, AUDIT_SRC_ADDR, &addr);
    entry_flag(&entry, AUDIT_MTLS, true);
    entry_time(&entry, AUDIT_PEER_NOT_AFTER, INT64_C(1700003600000000000));
    entry_u64(&entry, AUDIT_RULE, UINT64_C(1) << 53);
    json_t *json = sealed(&line);
    cr_assert(eq(str, (char *)text_of(json, "time"), "2023-11-14T22:13:20.123456789Z"));
    cr_assert(eq(str, (char *)text_of(json, "event"), "verdict"));
    cr_assert(eq(str, (char *)text_of(json, "connection"), "a-0-1"));
    cr_assert(eq(str, (char *)text_of(json, "src.addr"), "[fd00::1]:8080"));
    cr_assert(is_true(json, "mtls"));
    cr_assert(eq(str, (char *)text_of(json, "peer.not_after"), "2023-11-14T23:13:20.000000000Z"));
    cr_assert(str_contains(text_str(&line), STR("\"rule\":9007199254740992")));
    json_decref(json);
    text_fini(&line);
}

Test(audit_entry, a_name_cannot_write_members_or_lines_of_its_own)
{
    static const char *const rows[] = {
        "a\",\"decision\":\"allow",
        "a\"}\n{\"seq\":2",
        "back\\slash\\",
        "\x01\x02\x1f\x7f",
        "cut utf-8 \xe2\x82",
        "\xff\xfe\xc0\x80",
        "\xe2\x80\xa8 line separator",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text line = {0};
        entry_begin(&entry, AUDIT_END, 0);
        entry_cstr(&entry, AUDIT_SRC_WORKLOAD, rows[i]);
        entry_cstr(&entry, AUDIT_DECISION, "deny");
        json_t *json = sealed(&line);
        cr_assert(eq(sz, json_object_size(json), 7), "%s", line.ptr);
        cr_assert(eq(str, (char *)text_of(json, "decision"), "deny"));
        cr_assert(memchr(line.ptr, '\n', line.len - 1) == NULL);
        json_decref(json);
        text_fini(&line);
    }
}

Test(audit_entry, a_name_without_end_cuts_itself_and_pushes_nothing_out)
{
    static char endless[10000];
    struct text line = {0};
    memset(endless, 1, sizeof endless); /* six bytes of JSON each */
    entry_begin(&entry, AUDIT_END, 0);
    entry_str(&entry, AUDIT_SRC_WORKLOAD, str_of(endless, sizeof endless));
    entry_cstr(&entry, AUDIT_WHY, "ok");
    json_t *json = sealed(&line);
    cr_assert(eq(str, (char *)text_of(json, "why"), "ok"));
    cr_assert(is_true(json, "cut"));
    cr_assert(eq(sz, json_string_length(json_object_get(json, "src.workload")), ENTRY_NAME_MAX));
    json_decref(json);
    text_fini(&line);
}

Test(audit_entry, every_field_at_its_longest_has_room)
{
    static char endless[10000];
    struct text line = {0};
    size_t n = 0;
    memset(endless, 1, sizeof endless);
    entry_begin(&entry, AUDIT_END, 0);
    for (int i = 0; i < AUDIT_FIELDS; i++) {
        if (i == AUDIT_CUT || i == AUDIT_NODE || i == AUDIT_VERSION)
            continue; /* not of the record */
        entry_str(&entry, (enum audit_field)i, str_of(endless, sizeof endless));
        n++;
    }
    json_t *json = sealed(&line);
    cr_assert(eq(sz, json_object_size(json), n + 6)); /* seq, prev, time, event, cut, node */
    cr_assert(eq(sz, json_string_length(json_object_get(json, "src.identity")), ENTRY_VALUE_MAX));
    cr_assert(eq(sz, json_string_length(json_object_get(json, "lost.cause")), ENTRY_NAME_MAX));
    json_decref(json);
    text_fini(&line);
}

Test(audit_entry, a_full_record_still_is_a_line)
{
    static char endless[ENTRY_VALUE_MAX];
    struct text line = {0};
    memset(endless, 1, sizeof endless);
    entry_begin(&entry, AUDIT_END, 0);
    for (int i = AUDIT_SRC_WORKLOAD; i < AUDIT_SRC_WORKLOAD + 3; i++)
        entry_str(&entry, (enum audit_field)i, str_of(endless, sizeof endless));
    for (int i = 0; i < 20000; i++)
        entry_cstr(&entry, AUDIT_PEER_TRUST_DOMAIN, "\x01");
    struct audit_chain chain;
    struct audit_line read;
    chain_init(&chain);
    chain_seal(&chain, entry_end(&entry), (struct str){0}, &line);
    cr_assert(line_read(str_sub(text_str(&line), 0, line.len - 1), &read));
    text_fini(&line);
}

Test(audit_entry, only_whole_objects_are_lines)
{
    struct text line = {0};
    struct audit_line read;
    entry_begin(&entry, AUDIT_END, 0);
    entry_cstr(&entry, AUDIT_SENTENCE, "looks like an end\"} and is none }");
    entry_flag(&entry, AUDIT_MTLS, false);
    struct audit_chain chain;
    chain_init(&chain);
    chain_seal(&chain, entry_end(&entry), (struct str){0}, &line);
    for (size_t len = 0; len < line.len - 1; len++)
        cr_assert(not(line_read(str_sub(text_str(&line), 0, len), &read)), "%zu", len);
    cr_assert(line_read(str_sub(text_str(&line), 0, line.len - 1), &read));
    cr_assert(not(line_read(text_str(&line), &read)));
    text_fini(&line);
}
