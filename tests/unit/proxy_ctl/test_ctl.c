#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl_kit.h"
#include "proxy/base/ensure.h"

TestSuite(ctl, .timeout = 60);

static struct outcome outcome;

#define SERVICES                                                                                   \
    "{\"services\":[{\"host\":\"redis.shop.svc.clusterset.local\",\"namespace\":\"shop\","         \
    "\"scope\":\"clusterset\",\"vips\":[\"10.96.0.7\",\"fd00::7\"],\"headless\":false,"            \
    "\"ports\":[{\"name\":\"redis\",\"port\":6379,\"target_port\":6379,\"protocol\":\"TCP\","      \
    "\"endpoints\":3,\"ready\":2},{\"name\":\"\",\"port\":53,\"protocol\":\"UDP\"}],"              \
    "\"clusters\":[\"east\",\"west\"]},"                                                           \
    "{\"host\":\"pods.shop.svc.clusterset.local\",\"headless\":true,\"weight\":7}]}\n"

#define STATUS                                                                                     \
    "{\"version\":\"0.1.0\",\"role\":\"proxy\",\"uptime_s\":3725,"                                 \
    "\"snapshot\":{\"generation\":12,\"synced\":true},"                                            \
    "\"control\":{\"address\":\"c:15012\",\"connected\":false,\"last_error\":\"\"},"               \
    "\"workers\":[{\"flows\":3,\"tunnels\":1},{\"flows\":4,\"tunnels\":2}],"                       \
    "\"draining\":false,\"added_later\":{\"depth\":{\"of\":[1,2]}}}\n"

#define CONNECTIONS                                                                                \
    "{\"connections\":[{\"id\":7,\"state\":\"pumping\",\"age_ms\":65000,\"bytes_received\":2048,"  \
    "\"bytes_sent\":10,\"direction\":\"outbound\",\"src.addr\":\"10.0.0.1:5000\","                 \
    "\"src.workload\":\"web-1\",\"src.namespace\":\"shop\",\"src.identity\":\"spiffe://td/a\","    \
    "\"dst.addr\":\"10.1.0.1:6379\",\"dst.service\":\"redis.shop.svc.clusterset.local\","          \
    "\"dst.workload\":\"redis-0\",\"dst.namespace\":\"shop\",\"dst.identity\":\"spiffe://td/b\","  \
    "\"dst.cluster\":\"east\",\"mtls\":true,\"tls.version\":\"TLSv1.3\"},"                         \
    "{\"id\":8,\"state\":\"connecting\",\"age_ms\":12,\"src.addr\":\"[fd00::1]:5001\","            \
    "\"mtls\":false}]}\n"

#define CERTS                                                                                      \
    "{\"certificates\":[{\"identity\":\"spiffe://td/a\",\"state\":\"held\",\"serial\":\"0a\","     \
    "\"not_before\":\"2026-01-31T12:00:00.123456Z\",\"not_after\":\"2026-02-01T12:00:00.1Z\","     \
    "\"error\":\"\"},{\"identity\":\"spiffe://td/b\",\"state\":\"waiting\",\"not_before\":null,"   \
    "\"not_after\":null,\"error\":\"no route\"}],"                                                 \
    "\"bundles\":[{\"trust_domain\":\"td\",\"roots\":2,\"not_after\":\"2036-01-01T00:00:00Z\"}]}"  \
    "\n"

#define WHY                                                                                        \
    "{\"source\":\"shop/web-0\",\"identity\":\"spiffe://td/ns/shop/sa/web\",\"verdict\":\"deny\"," \
    "\"reason\":\"explicitly denied by shop/x, rule 1\",\"rules\":[{\"action\":\"DENY\","          \
    "\"policy\":\"shop/x\",\"rule\":0,\"matches\":false,\"why_not\":\"ports: 80 is none of 81\"}," \
    "{\"action\":\"DENY\",\"policy\":\"shop/x\",\"rule\":1,\"matches\":true,\"why_not\":\"\"}]}\n"

static const struct canned pages[] = {
    {"/status", 200, STATUS},
    {"/services", 200, SERVICES},
    {"/connections", 200, CONNECTIONS},
    {"/certs", 200, CERTS},
    {"/why", 200, WHY},
    {"/endpoints", 503, "the first snapshot is not built yet\n"},
};

static struct server *server;

static void start(void)
{
    server = server_start(pages, ARRAY_LEN(pages));
}

static void stop(void)
{
    server_stop(server);
}

TestSuite(ctl_asks, .init = start, .fini = stop, .timeout = 60);

static void expect_line(const char *line)
{
    char wanted[1024];
    char text[sizeof(outcome.out) + 2];
    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    snprintf(text, sizeof(text), "\n%s", outcome.out);
    cr_expect(strstr(text, wanted) != NULL, "no line \"%s\" in:\n%s", line, outcome.out);
}

Test(ctl_asks, services_are_an_aligned_table_with_a_column_for_what_it_does_not_know)
{
    run_ctl(server, "@ services", &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.err);
    cr_expect_str_eq(outcome.err, "");
    cr_expect_str_eq(outcome.out, "HOST                             NAMESPACE  SCOPE       VIPS    "
                                  "            PORTS (READY)       "
                                  "    CLUSTERS    WEIGHT\n"
                                  "redis.shop.svc.clusterset.local  shop       clusterset  "
                                  "10.96.0.7, fd00::7  redis:6379 2/3, "
                                  "53/UDP  east, west  -\n"
                                  "pods.shop.svc.clusterset.local   -          -           "
                                  "headless            -                   "
                                  "    -           7\n");
}

Test(ctl_asks, the_filter_goes_to_the_server_and_selects_rows_of_one_that_does_not_filter)
{
    run_ctl(server, "@ services redis&/%", &outcome);
    cr_expect_str_eq(server_asked(server), "/services?host=redis%26%2F%25");
    cr_expect_eq(outcome.status, 0);
    cr_expect_str_eq(outcome.out, "no services match \"redis&/%\"\n");

    run_ctl(server, "services pods @", &outcome);
    cr_expect(strstr(outcome.out, "pods.shop") && !strstr(outcome.out, "redis.shop"), "%s",
              outcome.out);
}

Test(ctl_asks, status_shows_values_sections_and_tables_and_members_it_never_heard_of)
{
    run_ctl(server, "@ status", &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.err);
    expect_line("version:   0.1.0");
    expect_line("uptime:    1h02m");
    expect_line("draining:  no");
    expect_line("  generation:  12");
    expect_line("  synced:      yes");
    expect_line("  last error:  -");
    expect_line("workers:");
    expect_line("  FLOWS  TUNNELS");
    expect_line("  4      2");
    expect_line("added_later:");
    expect_line("    of:  1, 2");
}

Test(ctl_asks, connections_name_both_ends_by_workload_or_address)
{
    run_ctl(server, "@ connections", &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.err);
    cr_expect_str_eq(server_asked(server), "/connections");
    expect_line(
        "7   pumping     1m05s  outbound   shop/web-1      redis.shop.svc.clusterset.local  "
        "shop/redis-0  east     TLSv1.3  2.0KiB    10B");
    expect_line(
        "8   connecting  12ms   -          [fd00::1]:5001  -                                "
        "-             -        no       -         -");
    cr_expect(!strstr(outcome.out, "spiffe://"), "%s", outcome.out);
    run_ctl(server, "@ --wide connections", &outcome);
    cr_expect(strstr(outcome.out, "SRC.IDENTITY") && strstr(outcome.out, "spiffe://td/b"), "%s",
              outcome.out);
}

Test(ctl_asks, connections_are_filtered_by_state_there_and_by_anything_else_here)
{
    run_ctl(server, "@ connections connecting", &outcome);
    cr_expect_str_eq(server_asked(server), "/connections?state=connecting");
    cr_expect(!strstr(outcome.out, "web-1") && strstr(outcome.out, "fd00::1"), "%s", outcome.out);
    run_ctl(server, "@ connections serving", &outcome);
    cr_expect_str_eq(server_asked(server), "/connections?state=serving");
    run_ctl(server, "@ connections spiffe://td/b", &outcome);
    cr_expect_str_eq(server_asked(server), "/connections");
    cr_expect(strstr(outcome.out, "web-1") && !strstr(outcome.out, "fd00::1"), "%s", outcome.out);
}

Test(ctl_asks, certs_are_two_tables)
{
    run_ctl(server, "@ certs", &outcome);
    cr_expect_str_eq(
        outcome.out,
        "certificates:\n"
        "  IDENTITY       STATE    SERIAL  FROM                  UNTIL                 "
        "ERROR\n"
        "  spiffe://td/a  held     0a      2026-01-31T12:00:00Z  2026-02-01T12:00:00Z  "
        "-\n"
        "  spiffe://td/b  waiting  -       -                     -                     "
        "no route\n"
        "\n"
        "bundles:\n"
        "  TRUST DOMAIN  ROOTS  UNTIL\n"
        "  td            2      2036-01-01T00:00:00Z\n");
}

Test(ctl_asks, a_page_of_endpoints_is_asked_for_and_of_nothing_else)
{
    run_ctl(server, "@ endpoints --limit 5 --offset=10 redis", &outcome);
    cr_expect_str_eq(server_asked(server), "/endpoints?host=redis&offset=10&limit=5");
    run_ctl(server, "@ endpoints --offset 10", &outcome);
    cr_expect_str_eq(server_asked(server), "/endpoints?offset=10");
    run_ctl(server, "@ services --limit 5", &outcome);
    cr_expect_eq(outcome.status, 2);
    cr_expect(strstr(outcome.err, "only endpoints come in pages, not \"services\""), "%s",
              outcome.err);
    run_ctl(server, "@ endpoints --limit", &outcome);
    cr_expect_eq(outcome.status, 2);
    cr_expect(strstr(outcome.err, "a number is missing behind \"--limit\""), "%s", outcome.err);
}

Test(ctl_asks, json_is_the_answer_byte_for_byte)
{
    run_ctl(server, "--json @ services", &outcome);
    cr_expect_eq(outcome.status, 0);
    cr_expect_str_eq(outcome.out, SERVICES);
    cr_expect_str_eq(outcome.err, "");
}

Test(ctl_asks, a_refusal_is_told_with_what_the_process_said)
{
    run_ctl(server, "@ endpoints", &outcome);
    cr_expect_eq(outcome.status, 1);
    cr_expect_str_eq(outcome.out, "");
    cr_expect(strstr(outcome.err, " answered 503 to /endpoints:\n") &&
                  strstr(outcome.err, "the first snapshot is not built yet\n"),
              "%s", outcome.err);
    run_ctl(server, "--json @ endpoints", &outcome);
    cr_expect_eq(outcome.status, 1);
    cr_expect_str_eq(outcome.out, "");
}

Test(ctl, a_page_that_is_not_there_is_told_with_those_that_are)
{
    server = server_start(pages, 1);
    run_ctl(server, "@ certs", &outcome);
    cr_expect_eq(outcome.status, 1);
    cr_expect(strstr(outcome.err, "answered 404 to /certs") &&
                  strstr(outcome.err, "there are /a and /b"),
              "%s", outcome.err);
    server_stop(server);
}

Test(ctl, what_is_no_page_is_an_error_and_prints_nothing)
{
    static const char *const bodies[] = {"", "hello", "[1]", "{\"a\":", "\"x\"", "{} {}"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        const struct canned page = {"/status", 200, bodies[i]};
        server = server_start(&page, 1);
        run_ctl(server, "@ status", &outcome);
        cr_expect_eq(outcome.status, 1, "%s", bodies[i]);
        cr_expect_str_eq(outcome.out, "", "%s", bodies[i]);
        cr_expect(strstr(outcome.err, "is no page"), "%s: %s", bodies[i], outcome.err);
        server_stop(server);
    }
}

Test(ctl, hostile_names_are_shown_and_not_obeyed)
{
    static const struct canned page = {
        "/services", 200,
        "{\"services\":[{\"host\":\"a\\u001b[2J\\u0000\\nb\",\"namespace\":\"\\u202egnp.\\u0085\","
        "\"\\u001b]0;x\\u0007\":\"\\u001b[31m\"}]}"};
    server = server_start(&page, 1);
    run_ctl(server, "@ services", &outcome);
    cr_expect_eq(outcome.status, 0);
    for (const char *c = outcome.out; *c; c++)
        cr_expect(*c == '\n' || ((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f),
                  "byte %02x", (unsigned char)*c);
    cr_expect(strstr(outcome.out, "a\\x1b[2J\\x00\\x0ab"), "%s", outcome.out);
    cr_expect(strstr(outcome.out, "\\u{202e}gnp.\\u{85}"), "%s", outcome.out);
    server_stop(server);
}

Test(ctl, a_hostile_refusal_is_escaped_too)
{
    static const struct canned page = {"/status", 500, "\x1b[2Jboom\n"};
    server = server_start(&page, 1);
    run_ctl(server, "@ status", &outcome);
    cr_expect_eq(outcome.status, 1);
    cr_expect(strstr(outcome.err, "\\x1b[2Jboom\n"), "%s", outcome.err);
    cr_expect(!strchr(outcome.err, '\x1b'));
    server_stop(server);
}

/* A port that nobody listens on: bound, so that nobody else gets it, and not listening. */
static int closed_port(char *line, size_t size, const char *command)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(line, size, "--address=127.0.0.1:%u %s", ntohs(sa.sin_port), command);
    return fd;
}

Test(ctl, who_cannot_be_reached_is_named_with_what_to_do)
{
    char line[128];
    const int fd = closed_port(line, sizeof(line), "status");
    run_ctl(NULL, line, &outcome);
    close(fd);
    cr_expect_eq(outcome.status, 1);
    cr_expect_str_eq(outcome.out, "");
    cr_expect(strstr(outcome.err, "cannot reach 127.0.0.1:") && strstr(outcome.err, "refused") &&
                  strstr(outcome.err, "running there?"),
              "%s", outcome.err);
}

Test(ctl, wrong_usage_is_2_and_asks_nobody)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"", "Usage: isthmus ctl"},
        {"@", "Usage: isthmus ctl"},
        {"@ statuses", "there is no command \"statuses\""},
        {"@ status --jsn", "there is no option \"--jsn\""},
        {"@ services a b", "what is \"b\""},
        {"services --address", "HOST:PORT is missing"},
        {"@ -x", "there is no option \"-x\""},
        {"@ endpoints --limit 0", "--limit wants a number from 1 to 1000, not \"0\""},
        {"@ endpoints --limit=1001", "--limit wants a number from 1 to 1000, not \"1001\""},
        {"@ endpoints --limit many", "--limit wants a number from 1 to 1000, not \"many\""},
        {"@ endpoints --offset -1", "--offset wants a whole number, not \"-1\""},
        {"@ services --limit 5", "only endpoints come in pages, not \"services\""},
        {"@ -- --json", "there is no command \"--json\""},
        {"@ \x1b[2J", "\\x1b[2J"},
    };

    server = server_start(pages, ARRAY_LEN(pages));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        run_ctl(server, rows[i].line, &outcome);
        cr_expect_eq(outcome.status, 2, "%s", rows[i].line);
        cr_expect_str_eq(outcome.out, "", "%s", rows[i].line);
        cr_expect(strstr(outcome.err, rows[i].says), "%s: %s", rows[i].line, outcome.err);
    }
    cr_expect_str_eq(server_asked(server), "");
    server_stop(server);
}

Test(ctl, an_address_that_is_none_is_refused_with_an_example)
{
    static const char *const addresses[] = {"localhost",  ":15000",  "127.0.0.1:0",
                                            "::1:80",     "[::1]",   "127.0.0.1:99999",
                                            "http://a:1", "[::1:80", "a:b"};
    char line[128];
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        snprintf(line, sizeof(line), "--address=%s status", addresses[i]);
        run_ctl(NULL, line, &outcome);
        cr_expect_eq(outcome.status, 1, "%s", addresses[i]);
        cr_expect(strstr(outcome.err, "such as 127.0.0.1:15000"), "%s: %s", addresses[i],
                  outcome.err);
    }
}

Test(ctl, help_goes_to_standard_output_with_examples)
{
    static const char *const lines[] = {"--help", "-h", "status --help"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        run_ctl(NULL, lines[i], &outcome);
        cr_expect_eq(outcome.status, 0, "%s", lines[i]);
        cr_expect(strstr(outcome.out, "Examples:") && strstr(outcome.out, "--address HOST:PORT"));
        cr_expect_str_eq(outcome.err, "");
    }
}

Test(ctl_asks, why_sends_its_words_and_prints_the_verdict_and_a_row_a_rule)
{
    run_ctl(server, "@ why shop/web-0 [fd00::1]:80 GET /a?b", &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.err);
    cr_expect_str_eq(server_asked(server),
                     "/why?from=shop%2Fweb-0&to=%5Bfd00%3A%3A1%5D%3A80&method=GET&path=%2Fa%3Fb");
    expect_line("verdict:   deny");
    expect_line("reason:    explicitly denied by shop/x, rule 1");
    expect_line("  ACTION  POLICY  RULE  MATCHES  WHY NOT");
    expect_line("  DENY    shop/x  0     no       ports: 80 is none of 81");
    expect_line("  DENY    shop/x  1     yes      -");

    run_ctl(server, "@ --json why a b", &outcome);
    cr_expect_str_eq(outcome.out, WHY);
}

Test(ctl_asks, why_wants_two_words_and_takes_four)
{
    static const char *const lines[] = {"@ why", "@ why shop/web-0", "@ why a b GET /x more"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        run_ctl(server, lines[i], &outcome);
        cr_expect_eq(outcome.status, 2, "%s", lines[i]);
        cr_expect(strstr(outcome.err, "DST:PORT"), "%s: %s", lines[i], outcome.err);
    }
}
