#include <criterion/criterion.h>

#include "proxy/http/http2_head.h"

TestSuite(http2_head, .timeout = 20);

Test(http2_head, a_status_that_http1_could_not_say_is_no_status)
{
    static const struct {
        const char *text;
        bool is_good;
    } rows[] = {{"100", true},  {"200", true},  {"599", true},  {"600", false}, {"999", false},
                {"101", false}, {"099", false}, {"000", false}, {"20", false},  {"2000", false}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct h2_field field = {STR(":status"), str_from(rows[i].text)};
        const struct h2_head head = {.fields = &field, .len = 1};
        struct http2_words words;
        struct http_response response;
        const char *why = http2_read_response(&head, &words, &response);
        cr_expect_eq(!why, rows[i].is_good, "%s: %s", rows[i].text, why ? why : "taken");
        http2_words_fini(&words);
    }
}

Test(http2_head, a_response_that_can_have_no_body_has_none_wherever_its_stream_ends)
{
    static const struct {
        const char *status;
        bool may_have_body;
    } rows[] = {{"100", false}, {"200", true}, {"204", false}, {"304", false}, {"500", true}};

    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        const struct h2_field field = {STR(":status"), str_from(rows[i / 2].status)};
        const struct h2_head head = {.fields = &field, .len = 1, .end_stream = i % 2};
        struct http2_words words;
        struct http_response response;
        cr_assert_null(http2_read_response(&head, &words, &response));
        cr_expect_eq(response.has_body, rows[i / 2].may_have_body && !head.end_stream, "%s",
                     rows[i / 2].status);
        http2_words_fini(&words);
    }
}

Test(http2_head, a_response_whose_head_was_cut_is_none)
{
    const struct h2_field field = {STR(":status"), STR("200")};
    const struct h2_head head = {.fields = &field, .len = 1, .is_cut = true};
    struct http2_words words;
    struct http_response response;
    cr_expect_not_null(http2_read_response(&head, &words, &response));
    http2_words_fini(&words);
}

Test(http2_head, a_protocol_whose_name_http1_would_not_take_is_none)
{
    static const char letters[] = "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww";
    for (size_t len = HTTP_PROTOCOL_MAX; len <= HTTP_PROTOCOL_MAX + 1; len++) {
        const struct h2_field fields[] = {{STR(":method"), STR("CONNECT")},
                                          {STR(":protocol"), str_of(letters, len)},
                                          {STR(":scheme"), STR("http")},
                                          {STR(":path"), STR("/")},
                                          {STR(":authority"), STR("a")}};
        const struct h2_head head = {.fields = fields, .len = ARRAY_LEN(fields)};
        struct http2_words words;
        struct http_request request;
        unsigned status;
        const char *why = http2_read_request(&head, &words, &request, &status);
        cr_expect_eq(!why, len <= HTTP_PROTOCOL_MAX, "%zu: %s", len, why ? why : "taken");
        http2_words_fini(&words);
    }
}
