#include <criterion/criterion.h>
#include <string.h>

#include "proxy/trace/context.h"

TestSuite(trace_context, .timeout = 20);

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN  "b7ad6b7169203331"

static struct arena arena;
static struct rng rng;

static void start(void)
{
    rng_seed(&rng, 7);
}

static void finish(void)
{
    arena_fini(&arena);
}

Test(trace_context, a_traceparent_is_told_from_what_is_none)
{
    static const struct {
        const char *name, *text;
        bool is_one;
        uint8_t flags;
    } rows[] = {
        {"sampled", "00-" TRACE "-" SPAN "-01", true, 1},
        {"not sampled", "00-" TRACE "-" SPAN "-00", true, 0},
        {"random", "00-" TRACE "-" SPAN "-03", true, 3},
        {"flags that nobody knows", "00-" TRACE "-" SPAN "-fd", true, 1},
        {"a later version", "01-" TRACE "-" SPAN "-01", true, 1},
        {"a later version that says more", "cc-" TRACE "-" SPAN "-01-what-else", true, 1},
        {"a later version, more without a dash", "cc-" TRACE "-" SPAN "-01.more", false, 0},
        {"a later version, cut", "cc-" TRACE "-" SPAN "-0", false, 0},
        {"version ff", "ff-" TRACE "-" SPAN "-01", false, 0},
        {"version 00 that says more", "00-" TRACE "-" SPAN "-01-more", false, 0},
        {"version 00 with a dash behind it", "00-" TRACE "-" SPAN "-01-", false, 0},
        {"upper case in the version", "0A-" TRACE "-" SPAN "-01", false, 0},
        {"upper case in the trace", "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01", false, 0},
        {"upper case in the span", "00-" TRACE "-B7AD6B7169203331-01", false, 0},
        {"upper case in the flags", "00-" TRACE "-" SPAN "-0A", false, 0},
        {"a trace of zeros", "00-00000000000000000000000000000000-" SPAN "-01", false, 0},
        {"a span of zeros", "00-" TRACE "-0000000000000000-01", false, 0},
        {"no hexadecimal digit", "00-" TRACE "-b7ad6b716920333g-01", false, 0},
        {"underscores for dashes", "00_" TRACE "_" SPAN "_01", false, 0},
        {"a trace that is short", "00-" TRACE "-b7ad6b71692033-01", false, 0},
        {"no flags", "00-" TRACE "-" SPAN, false, 0},
        {"empty", "", false, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trace_context context = {0};
        const bool is_one = trace_parse(str_from(rows[i].text), &context);
        cr_expect_eq(is_one, rows[i].is_one, "%s", rows[i].name);
        cr_expect(!is_one || context.flags == rows[i].flags, "%s: %u", rows[i].name, context.flags);
        cr_expect(!is_one || context.trace_id[0] == 0x0a, "%s", rows[i].name);
    }
}

static struct http_fields fields_of(const struct http_field *at, size_t len)
{
    return (struct http_fields){.at = at, .len = len};
}

#define FIELDS(...)                                                                                \
    fields_of((const struct http_field[]){__VA_ARGS__},                                            \
              sizeof((const struct http_field[]){__VA_ARGS__}) / sizeof(struct http_field))
#define FIELD(name, value)                                                                         \
    {                                                                                              \
        STR(name), STR(value)                                                                      \
    }
#define PARENT FIELD("traceparent", "00-" TRACE "-" SPAN "-01")

Test(trace_context, a_trace_is_continued_under_a_span_of_ours, .init = start, .fini = finish)
{
    const struct http_fields fields = FIELDS(FIELD("a", "1"), PARENT, FIELD("b", "2"));
    struct trace_context context;

    trace_begin(&fields, 0, &rng, &arena, &context);
    const struct http_fields sent = trace_forward(&fields, &context, &arena);

    const struct str parent = http_find(&sent, "traceparent");
    cr_assert_eq(sent.len, 3);
    cr_assert_eq(parent.len, TRACE_PARENT_LEN);
    cr_expect(str_starts_with(parent, STR("00-" TRACE "-")));
    cr_expect(str_ends_with(parent, STR("-01")), "the caller's word, whatever our own chance");
    cr_expect_not(str_contains(parent, STR(SPAN)));
    cr_expect_eq(context.parent_id[0], 0xb7);
    cr_expect(str_eq(http_find(&sent, "b"), STR("2")));
}

Test(trace_context, what_is_no_one_traceparent_begins_a_trace_and_drops_the_state, .init = start,
     .fini = finish)
{
    const struct http_fields rows[] = {
        FIELDS(FIELD("tracestate", "a=1")),
        FIELDS(PARENT, PARENT, FIELD("tracestate", "a=1")),
        FIELDS(FIELD("traceparent", "00-nothing"), FIELD("tracestate", "a=1")),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trace_context context;
        trace_begin(&rows[i], TRACE_ALL_PPM, &rng, &arena, &context);
        const struct http_fields sent = trace_forward(&rows[i], &context, &arena);
        cr_assert_eq(sent.len, 1, "row %zu", i);
        struct trace_context told;
        cr_assert(trace_parse(sent.at[0].value, &told), "row %zu", i);
        cr_expect_eq(told.flags, TRACE_SAMPLED, "row %zu", i);
        cr_expect_neq(told.trace_id[0], 0x0a, "row %zu", i);
        cr_expect_eq(context.parent_id[0], 0, "row %zu", i);
    }
}

Test(trace_context, the_state_is_joined_in_order_and_passed_on_untouched, .init = start,
     .fini = finish)
{
    const struct http_fields fields =
        FIELDS(PARENT, FIELD("tracestate", "a=1,b@x=2"), FIELD("tracestate", ""), FIELD("x", "y"),
               FIELD("tracestate", "c=3 , d=4"));
    struct trace_context context;

    trace_begin(&fields, 0, &rng, &arena, &context);
    const struct http_fields sent = trace_forward(&fields, &context, &arena);

    cr_assert_eq(sent.len, 3);
    cr_expect(str_eq(http_find(&sent, "tracestate"), STR("a=1,b@x=2,c=3 , d=4")));
}

Test(trace_context, a_state_that_is_too_long_loses_whole_members_from_the_end, .init = start,
     .fini = finish)
{
    char *text = arena_alloc(&arena, TRACE_STATE_MAX);
    memset(text, 'v', TRACE_STATE_MAX);
    memcpy(text, "a=", 2);
    memcpy(text + 2000, ",b=", 3);
    memcpy(text + 4000, ",c=", 3);
    const struct http_fields fields =
        FIELDS(PARENT, FIELD("tracestate", "z=1"), {STR("tracestate"), {text, TRACE_STATE_MAX}},
               FIELD("tracestate", "never=1"));
    struct trace_context context;

    trace_begin(&fields, 0, &rng, &arena, &context);

    cr_assert_eq(context.state.len, 4 + 4000);
    cr_expect(str_starts_with(context.state, STR("z=1,a=vv")));
    cr_expect_not(str_contains(context.state, STR("c=")));
    cr_expect_not(str_contains(context.state, STR("never")));
}

Test(trace_context, as_many_traces_begin_sampled_as_were_asked_for, .init = start, .fini = finish)
{
    static const struct {
        uint32_t ppm;
        unsigned least, most;
    } rows[] = {{0, 0, 0}, {TRACE_ALL_PPM, 10000, 10000}, {100000, 850, 1150}};
    const struct http_fields none = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned n = 0;
        for (unsigned k = 0; k < 10000; k++) {
            struct trace_context context;
            trace_begin(&none, rows[i].ppm, &rng, &arena, &context);
            n += trace_is_sampled(&context);
        }
        cr_expect(n >= rows[i].least && n <= rows[i].most, "%u: %u", rows[i].ppm, n);
    }
}
