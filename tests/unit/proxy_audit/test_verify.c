/* Every kind of tampering is found and named; what cannot be told from one is said so. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "proxy/base/mem.h"
#include "tests/unit/proxy_audit/log_kit.h"

TestSuite(audit_verify, .timeout = 20);

static struct text whole, text, sentence;

static void setup(void)
{
    kit_log(10, &whole);
}

static void teardown(void)
{
    text_fini(&whole);
    text_fini(&text);
    text_fini(&sentence);
}

/* Appends lines [from, to) of the whole log. */
static void take(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        text_add(&text, kit_line(text_str(&whole), i));
}

static void expect(enum verify_fault fault, const char *words)
{
    text_clear(&sentence);
    cr_assert(eq(int, (int)kit_verify(text_str(&text), &sentence, NULL), (int)fault), "%s",
              sentence.ptr);
    cr_assert(str_contains(text_str(&sentence), str_from(words)), "%s lacks: %s", sentence.ptr,
              words);
}

Test(audit_verify, a_log_as_it_was_written_is_whole, .init = setup, .fini = teardown)
{
    struct verify_totals totals;
    cr_assert(eq(int, (int)kit_verify(text_str(&whole), &sentence, &totals), VERIFY_WHOLE));
    cr_assert(eq(u64, totals.n_lines, 10));
    cr_assert(eq(u64, totals.by_event[AUDIT_END], 10));
    cr_assert(eq(str, (char *)totals.first_time, "2023-11-14T22:13:20.000000001Z"));
    cr_assert(eq(str, (char *)totals.last_time, "2023-11-14T22:13:20.000000010Z"));
}

Test(audit_verify, any_byte_that_is_changed_is_found, .init = setup, .fini = teardown)
{
    /* The last line alone has nothing behind it that carries its hash: only an anchor has. */
    const size_t last = whole.len - kit_line(text_str(&whole), 9).len;
    for (size_t at = 0; at < last; at++) {
        whole.ptr[at] ^= 1;
        cr_assert(ne(int, (int)kit_verify(text_str(&whole), NULL, NULL), VERIFY_WHOLE), "byte %zu",
                  at);
        whole.ptr[at] ^= 1;
    }
}

Test(audit_verify, an_edited_line_is_named, .init = setup, .fini = teardown)
{
    take(0, 10);
    char *found = memmem(text.ptr, text.len, "abcdef-0-4\"", 11);
    found[9] = '7';
    expect(VERIFY_LINK, "log:4: record 4 is not the one that record 5 (log:5) was written after");
}

Test(audit_verify, a_removed_line_is_named, .init = setup, .fini = teardown)
{
    take(0, 4);
    take(6, 10);
    expect(VERIFY_REMOVED, "log:5: record 7 follows record 4: 2 were removed (5 to 6)");
}

Test(audit_verify, two_lines_that_were_swapped_are_named, .init = setup, .fini = teardown)
{
    take(0, 4);
    take(5, 6);
    take(4, 5);
    take(6, 10);
    expect(VERIFY_REORDERED, "record 5 comes later (log:6): the order was changed");
}

Test(audit_verify, a_repeated_line_is_named, .init = setup, .fini = teardown)
{
    take(0, 4);
    take(3, 10);
    expect(VERIFY_DUPLICATED, "log:5: record 4 comes again");
}

Test(audit_verify, an_end_that_is_cut_within_a_line_is_named, .init = setup, .fini = teardown)
{
    take(0, 10);
    for (size_t cut = 1; cut < kit_line(text_str(&whole), 9).len; cut++) {
        text.len = whole.len - cut;
        expect(VERIFY_CUT_OFF, "log:10: the last line has no end");
    }
}

Test(audit_verify, lines_of_another_log_do_not_fit_in, .init = setup, .fini = teardown)
{
    struct text other = {0};
    struct audit_chain chain;
    chain_init(&chain);
    for (unsigned i = 1; i <= 10; i++)
        chain_seal(&chain, kit_entry(100 + i), (struct str){0}, &other);
    take(0, 4);
    for (unsigned i = 4; i < 10; i++)
        text_add(&text, kit_line(text_str(&other), i));
    expect(VERIFY_LINK, "of another log");
    text_fini(&other);
}

Test(audit_verify, a_line_that_is_none_is_named, .init = setup, .fini = teardown)
{
    static const char *const rows[] = {
        "hello\n",
        "\n",
        "{\"seq\":5}\n",
        "{\"seq\":05,\"prev\":\"00\"}\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        text_clear(&text);
        take(0, 4);
        text_add(&text, str_from(rows[i]));
        take(4, 10);
        expect(VERIFY_NOT_A_LINE, "log:5: this is no line of an audit log");
    }
}

Test(audit_verify, a_first_line_that_claims_a_line_before_it_is_not_believed, .init = setup,
     .fini = teardown)
{
    take(1, 10);
    struct verify_totals totals;
    cr_assert(eq(int, (int)kit_verify(text_str(&text), NULL, &totals), VERIFY_WHOLE));
    cr_assert(eq(u64, totals.first_seq, 2)); /* and the totals say so */
    char *number = memmem(text.ptr, text.len, "\"seq\":2,", 8);
    number[6] = '1';
    expect(VERIFY_LINK, "record 0 is not the one that record 1");
}

static enum verify_fault with_anchor(unsigned n_lines, const char *anchor)
{
    struct verify *verify = mem_new(struct verify);
    text_clear(&text);
    take(0, n_lines);
    cr_assert(verify_add_anchor(verify, str_from(anchor)));
    verify_file(verify, STR("log"));
    verify_feed(verify, text_str(&text));
    (void)!verify_end(verify);
    const enum verify_fault fault = verify->fault;
    verify_fini(verify);
    mem_free(verify);
    return fault;
}

Test(audit_verify, an_anchor_finds_an_end_that_is_missing_and_a_log_written_anew, .init = setup,
     .fini = teardown)
{
    char anchor[100], other[100], hash[DIGEST_HEX_LEN + 1];
    const struct str line = kit_line(text_str(&whole), 7);
    digest_sha256_hex(str_sub(line, 0, line.len - 1), hash);
    (void)snprintf(anchor, sizeof anchor, "8:%s", hash);
    hash[3] = hash[3] == '0' ? '1' : '0';
    (void)snprintf(other, sizeof other, "8:%s", hash);

    cr_assert(eq(int, (int)with_anchor(10, anchor), VERIFY_WHOLE));
    cr_assert(eq(int, (int)with_anchor(8, anchor), VERIFY_WHOLE));
    cr_assert(eq(int, (int)with_anchor(7, anchor), VERIFY_ANCHOR_BEHIND));
    cr_assert(eq(int, (int)with_anchor(10, other), VERIFY_ANCHOR));
}

Test(audit_verify, a_line_without_end_costs_no_memory, .init = setup, .fini = teardown)
{
    struct verify *verify = mem_new(struct verify);
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    verify_file(verify, STR("log"));
    for (int i = 0; i < 4096; i++)
        verify_feed(verify, str_of(piece, sizeof piece));
    cr_assert(lt(sz, verify->line.cap, 4 * LINE_MAX_BYTES));
    cr_assert(lt(int, verify_end(verify), 0));
    verify_fini(verify);
    mem_free(verify);
}
