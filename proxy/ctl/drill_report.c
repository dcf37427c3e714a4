#include "proxy/ctl/drill_report.h"

#include "proxy/ctl/table.h"

static const char *const phase_names[PHASES] = {
    [PHASE_BEFORE] = "before",
    [PHASE_DURING] = "during",
    [PHASE_AFTER] = "after",
};

static const char *verdict_name(enum drill_verdict verdict)
{
    switch (verdict) {
    case DRILL_PASS: return "pass";
    case DRILL_FAIL: return "fail";
    case DRILL_REFUSED: return "refused";
    }
    ensure_failed("a verdict", __FILE__, __LINE__);
}

static void add_span(struct text *out, uint64_t ns)
{
    const unsigned long long ms = ns / NS_PER_MS;
    if (ms < 10000)
        text_addf(out, "%llu ms", ms);
    else if (ms < 600000 || ms % 60000 != 0)
        text_addf(out, "%llu s", ms / 1000);
    else
        text_addf(out, "%llu min", ms / 60000);
}

/* ---- judging ---- */

static bool is_loss_allowed(const struct drill_outcome *outcome)
{
    const struct str tier = text_str(&outcome->tier);
    return !str_is_empty(tier) && !str_eq(tier, STR("critical"));
}

static bool has_recovered(const struct drill_outcome *outcome)
{
    return outcome->took_ns[PHASE_DURING] >= outcome->last_ns + DRILL_SETTLED_NS;
}

static uint64_t others(const struct tally *tally, struct str cluster)
{
    return tally_sum(tally) - tally_of(tally, cluster) - tally_of(tally, STR("unknown"));
}

static uint64_t lost(const struct drill_outcome *outcome)
{
    return outcome->counts[PHASE_DURING].n_failed + outcome->counts[PHASE_AFTER].n_failed;
}

static void judge_counts(const struct drill_wish *wish, const struct drill_outcome *outcome,
                         struct text *why)
{
    const struct str cluster = wish->cluster;
    if (tally_of(&outcome->counts[PHASE_BEFORE], cluster) == 0)
        text_addf(why, "no call went to %.*s before: nothing is proven\n", STR_ARG(cluster));
    if (others(&outcome->counts[PHASE_DURING], cluster) == 0)
        text_addf(why, "no call went to another cluster while %.*s was out\n", STR_ARG(cluster));
    if (!has_recovered(outcome))
        text_addf(why, "calls still went to %.*s in the last second\n", STR_ARG(cluster));
    if (outcome->back_ns == 0)
        text_addf(why, "no call went to %.*s again within %d s\n", STR_ARG(cluster),
                  (int)(DRILL_BACK_MAX_NS / NS_PER_SEC));
}

static void judge_promise(const struct drill_outcome *outcome, struct text *why)
{
    if (outcome->promise_ns > 0 && outcome->last_ns > outcome->promise_ns) {
        text_add(why, STR("recovery took "));
        add_span(why, outcome->last_ns);
        text_addf(why, ", tier %.*s promises ", STR_ARG(text_str(&outcome->tier)));
        add_span(why, outcome->promise_ns);
        text_addc(why, '\n');
    }
    if (lost(outcome) > 0 && !is_loss_allowed(outcome))
        text_addf(why, "%llu calls failed, and %s\n", (unsigned long long)lost(outcome),
                  outcome->tier.len > 0 ? "tier critical promises no loss"
                                        : "without a tier none may");
}

enum drill_verdict drill_judge(const struct drill_wish *wish, const struct drill_outcome *outcome,
                               struct text *why)
{
    const size_t before = why->len;
    if (outcome->problem.len > 0) {
        text_add(why, text_str(&outcome->problem));
        text_addc(why, '\n');
        return outcome->has_begun || outcome->is_interrupted ? DRILL_FAIL : DRILL_REFUSED;
    }
    judge_counts(wish, outcome, why);
    judge_promise(outcome, why);
    if (outcome->n_misses > 0)
        text_addf(why, "nodes left %llu questions unanswered, so the counts may lack something\n",
                  (unsigned long long)outcome->n_misses);
    return why->len == before ? DRILL_PASS : DRILL_FAIL;
}

/* ---- in words ---- */

static void print_counts(const struct drill_outcome *outcome, enum drill_phase phase,
                         struct text *out)
{
    const struct tally *tally = &outcome->counts[phase];
    text_addf(out, "  %-10s ", phase_names[phase]);
    for (size_t i = 0; i < tally->len; i++) {
        text_addf(out, "%s%llu to ", i > 0 ? ", " : "",
                  (unsigned long long)tally->clusters[i].n_opened);
        plain_add(out, str_from(tally->clusters[i].name));
    }
    text_addf(out, "%s, %llu failed, in ", tally->len > 0 ? "" : "no call",
              (unsigned long long)tally->n_failed);
    add_span(out, outcome->took_ns[phase]);
    text_addc(out, '\n');
}

static void print_times(const struct drill_wish *wish, const struct drill_outcome *outcome,
                        struct text *out)
{
    text_add(out, STR("  recovery   "));
    if (!has_recovered(outcome))
        text_add(out, STR("none"));
    else if (outcome->last_ns == 0)
        text_add(out, STR("at once"));
    else
        add_span(out, outcome->last_ns);
    text_add(out, STR(", until the last new call to "));
    plain_add(out, wish->cluster);
    text_add(out, STR("\n  fail-back  "));
    if (outcome->back_ns == 0)
        text_add(out, STR("none"));
    else
        add_span(out, outcome->back_ns);
    text_addf(out, ", until the first new call to it\n  failed     %llu calls\n",
              (unsigned long long)lost(outcome));
}

static void print_verdict(const struct drill_outcome *outcome, enum drill_verdict verdict,
                          struct str why, struct text *out)
{
    struct str line, rest = why;
    text_addf(out, "  verdict    %s", verdict_name(verdict));
    if (outcome->promise_ns > 0) {
        text_add(out, STR("; tier "));
        plain_add(out, text_str(&outcome->tier));
        text_add(out, STR(" promises "));
        add_span(out, outcome->promise_ns);
    } else if (outcome->has_begun) {
        text_add(out, STR("; the service has no tier, so no time was promised"));
    }
    text_addc(out, '\n');
    while (str_split(rest, '\n', &line, &rest)) {
        text_add(out, STR("             "));
        plain_add(out, line);
        text_addc(out, '\n');
    }
}

void drill_print(const struct drill_wish *wish, const struct drill_outcome *outcome,
                 struct text *out)
{
    struct text why = {0};
    const enum drill_verdict verdict = drill_judge(wish, outcome, &why);
    plain_add(out, text_str(&outcome->host));
    text_add(out, STR(" without cluster "));
    plain_add(out, wish->cluster);
    text_addf(out, ", counted on %zu node%s\n", wish->n_nodes, wish->n_nodes == 1 ? "" : "s");
    if (outcome->has_begun) {
        for (enum drill_phase phase = 0; phase < PHASES; phase++)
            print_counts(outcome, phase, out);
        print_times(wish, outcome, out);
    }
    print_verdict(outcome, verdict, text_str(&why), out);
    text_fini(&why);
}

/* ---- as JSON ---- */

static void add_counts(const struct drill_outcome *outcome, enum drill_phase phase,
                       struct text *out)
{
    const struct tally *tally = &outcome->counts[phase];
    text_addf(out, ",\"%s\":{\"took_ms\":%llu,\"failed\":%llu,\"opened\":{", phase_names[phase],
              (unsigned long long)(outcome->took_ns[phase] / NS_PER_MS),
              (unsigned long long)tally->n_failed);
    for (size_t i = 0; i < tally->len; i++) {
        if (i > 0)
            text_addc(out, ',');
        text_add_json_string(out, str_from(tally->clusters[i].name));
        text_addf(out, ":%llu", (unsigned long long)tally->clusters[i].n_opened);
    }
    text_add(out, STR("}}"));
}

static void add_ms(struct text *out, const char *key, uint64_t ns, bool is_known)
{
    if (is_known)
        text_addf(out, ",\"%s\":%llu", key, (unsigned long long)(ns / NS_PER_MS));
    else
        text_addf(out, ",\"%s\":null", key);
}

static void add_reasons(struct text *out, struct str why)
{
    struct str line, rest = why;
    bool is_first = true;
    text_add(out, STR(",\"reasons\":["));
    while (str_split(rest, '\n', &line, &rest)) {
        if (!is_first)
            text_addc(out, ',');
        text_add_json_string(out, line);
        is_first = false;
    }
    text_addc(out, ']');
}

void drill_print_json(const struct drill_wish *wish, const struct drill_outcome *outcome,
                      struct text *out)
{
    struct text why = {0};
    const enum drill_verdict verdict = drill_judge(wish, outcome, &why);
    text_add(out, STR("{\"service\":"));
    text_add_json_string(out, text_str(&outcome->host));
    text_add(out, STR(",\"cluster\":"));
    text_add_json_string(out, wish->cluster);
    text_add(out, STR(",\"tier\":"));
    text_add_json_string(out, text_str(&outcome->tier));
    text_addf(out, ",\"nodes\":%zu", wish->n_nodes);
    add_ms(out, "promise_ms", outcome->promise_ns, outcome->promise_ns > 0);
    for (enum drill_phase phase = 0; phase < PHASES; phase++)
        add_counts(outcome, phase, out);
    add_ms(out, "recovery_ms", outcome->last_ns, outcome->has_begun && has_recovered(outcome));
    add_ms(out, "fail_back_ms", outcome->back_ns, outcome->back_ns > 0);
    text_addf(out, ",\"failed_calls\":%llu,\"verdict\":\"%s\"", (unsigned long long)lost(outcome),
              verdict_name(verdict));
    add_reasons(out, text_str(&why));
    text_add(out, STR("}\n"));
    text_fini(&why);
}
