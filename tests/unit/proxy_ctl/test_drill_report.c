/* When a drill has passed, and what is said when it has not. */
#include <criterion/criterion.h>
#include <string.h>

#include "ctl_kit.h"
#include "proxy/ctl/drill_report.h"

TestSuite(drill_report, .timeout = 30);

static const struct drill_wish wish = {.n_nodes = 2, .cluster = {"west", 4}};

static void count(struct tally *tally, const char *cluster, uint64_t n)
{
    struct tally_cluster *at = &tally->clusters[tally->len++];
    strcpy(at->name, cluster);
    at->n_opened = n;
}

/* Of a service of tier critical; all went well. */
static struct drill_outcome good(const char *tier, uint64_t promise_s)
{
    struct drill_outcome outcome = {
        .has_begun = true,
        .promise_ns = promise_s * NS_PER_SEC,
        .took_ns = {2 * NS_PER_SEC, 10 * NS_PER_SEC, 2 * NS_PER_SEC},
        .last_ns = 120 * NS_PER_MS,
        .back_ns = 80 * NS_PER_MS,
    };
    text_addf(&outcome.host, "till.shop.svc.clusterset.local");
    text_addf(&outcome.tier, "%s", tier);
    count(&outcome.counts[PHASE_BEFORE], "west", 100);
    count(&outcome.counts[PHASE_DURING], "west", 3);
    count(&outcome.counts[PHASE_DURING], "east", 500);
    count(&outcome.counts[PHASE_AFTER], "west", 90);
    return outcome;
}

static void expect(struct drill_outcome *outcome, enum drill_verdict verdict, const char *reason)
{
    struct text why = {0};
    cr_expect_eq(drill_judge(&wish, outcome, &why), verdict, "%s", why.ptr);
    cr_expect(str_contains(text_str(&why), str_from(reason)), "\"%s\" is not in \"%s\"", reason,
              why.ptr);
    text_fini(&why);
    drill_outcome_fini(outcome);
}

Test(drill_report, what_went_well_passes_and_is_told_in_words_and_figures)
{
    struct drill_outcome outcome = good("critical", 300);
    struct text words = {0}, json = {0};
    drill_print(&wish, &outcome, &words);
    drill_print_json(&wish, &outcome, &json);
    static const char *const parts[] = {
        "till.shop.svc.clusterset.local without cluster west, counted on 2 nodes\n",
        "before     100 to west, 0 failed, in 2000 ms\n",
        "during     3 to west, 500 to east, 0 failed, in 10 s\n",
        "recovery   120 ms, until the last new call to west\n",
        "fail-back  80 ms, until the first new call to it\n",
        "verdict    pass; tier critical promises 300 s\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        cr_expect(strstr(words.ptr, parts[i]), "\"%s\" is not in\n%s", parts[i], words.ptr);
    cr_expect(strstr(json.ptr, "\"during\":{\"took_ms\":10000,\"failed\":0,\"opened\":{\"west\":3,"
                               "\"east\":500}}"),
              "%s", json.ptr);
    cr_expect(strstr(json.ptr, "\"recovery_ms\":120,\"fail_back_ms\":80,\"failed_calls\":0,"
                               "\"verdict\":\"pass\",\"reasons\":[]}"),
              "%s", json.ptr);
    text_fini(&words);
    text_fini(&json);
    expect(&outcome, DRILL_PASS, "");
}

Test(drill_report, what_did_not_go_well_fails_with_its_reason)
{
    struct drill_outcome outcome = good("mine", 1);
    outcome.last_ns = 2 * NS_PER_SEC;
    expect(&outcome, DRILL_FAIL, "recovery took 2000 ms, tier mine promises 1000 ms");

    outcome = good("critical", 300);
    outcome.counts[PHASE_DURING].n_failed = 2;
    expect(&outcome, DRILL_FAIL, "2 calls failed, and tier critical promises no loss");

    outcome = good("", 0);
    outcome.counts[PHASE_AFTER].n_failed = 1;
    expect(&outcome, DRILL_FAIL, "1 calls failed, and without a tier none may");

    outcome = good("batch", 3600);
    outcome.counts[PHASE_DURING].n_failed = 2;
    expect(&outcome, DRILL_PASS, "");

    outcome = good("critical", 300);
    outcome.last_ns = 9500 * NS_PER_MS;
    expect(&outcome, DRILL_FAIL, "calls still went to west in the last second");

    outcome = good("critical", 300);
    outcome.back_ns = 0;
    expect(&outcome, DRILL_FAIL, "no call went to west again within 15 s");

    outcome = good("critical", 300);
    outcome.counts[PHASE_BEFORE].len = 0;
    expect(&outcome, DRILL_FAIL, "no call went to west before: nothing is proven");

    outcome = good("critical", 300);
    outcome.counts[PHASE_DURING].len = 1;
    expect(&outcome, DRILL_FAIL, "no call went to another cluster while west was out");

    outcome = good("critical", 300);
    outcome.n_misses = 3;
    expect(&outcome, DRILL_FAIL, "nodes left 3 questions unanswered");
}

Test(drill_report, what_was_refused_is_no_failure_of_the_service)
{
    struct drill_outcome outcome = {0};
    text_addf(&outcome.problem, "control refused: no");
    expect(&outcome, DRILL_REFUSED, "control refused: no\n");
    outcome = good("critical", 300);
    text_addf(&outcome.problem, "interrupted");
    expect(&outcome, DRILL_FAIL, "interrupted\n");
}

/* ---- the command line ---- */

Test(drill_report, wrong_usage_asks_nobody)
{
    static const struct {
        const char *line, *err;
    } rows[] = {
        {"drill", "which service?"},
        {"drill --service shop/till", "which cluster?"},
        {"drill --service", "a value is missing behind \"--service\""},
        {"drill --service a/b --cluster c --for 1s", "--for is 2s to 59m, such as 10s, not \"1s\""},
        {"drill --service a/b --cluster c --for 10", "--for is 2s to 59m, such as 10s, not \"10\""},
        {"drill --service a/b --cluster c --for 99999999999m", "not \"99999999999m\""},
        {"drill --service a/b --cluster c --fast", "there is no option \"--fast\""},
    };
    struct outcome outcome;
    struct server *server = server_start(NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        run_ctl(server, rows[i].line, &outcome);
        cr_expect_eq(outcome.status, 2, "%s", rows[i].line);
        cr_expect(strstr(outcome.err, rows[i].err), "%s: %s", rows[i].line, outcome.err);
    }
    run_ctl(server, "drill --help", &outcome);
    cr_expect_eq(outcome.status, 0);
    cr_expect(strstr(outcome.out, "Usage: isthmus ctl drill"), "%s", outcome.out);
    cr_expect_str_eq(server_asked(server), "");
    server_stop(server);
}

Test(drill_report, a_control_without_nodes_is_told)
{
    static const struct canned pages[] = {{"/status", 200, "{\"nodes\":[]}"}};
    struct outcome outcome;
    struct server *server = server_start(pages, 1);
    run_ctl(server, "drill --service a/b --cluster c @", &outcome);
    cr_expect_eq(outcome.status, 1);
    cr_expect(strstr(outcome.err, "knows of no node that is connected"), "%s", outcome.err);
    server_stop(server);
}
