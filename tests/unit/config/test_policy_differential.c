/*
 * The compiled form against the plain one: random policies in random layers, random questions, the
 * same answers in all their parts. ISTHMUS_POLICY_CASES and ISTHMUS_POLICY_SEED say how many and
 * which; a difference is told with the seed that shows it again.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/kit/plain_policy.h"

#define CASES_DEFAULT   100000
#define QUESTIONS_A_SET 50
#define POLICIES_MAX    120
#define SEED_DEFAULT    UINT64_C(20260131)

TestSuite(policy_differential, .timeout = 900);

static uint64_t number_of(const char *variable, uint64_t fallback)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : fallback;
}

struct dealt { /* policies, dealt out to layers */
    const struct model_policy *models[POLICIES_MAX];
    uint16_t *ports[3];
    size_t n_ports[3], layer_of[POLICIES_MAX], n;
    const struct policy_layer *layers[3];
    struct policy_set set;
};

static void deal(struct arena *arena, struct rng *rng, struct dealt *dealt)
{
    static const uint16_t some_ports[] = {0, 80, 8080, 65535};
    const struct policy **compiled[3];
    size_t n_compiled[3] = {0};
    dealt->n = rng_below(rng, rng_below(rng, 4) == 0 ? POLICIES_MAX : 12);
    for (size_t l = 0; l < 3; l++) {
        compiled[l] = arena_new_array(arena, const struct policy *, dealt->n);
        if (rng_below(rng, 3) > 0)
            continue;
        dealt->ports[l] = arena_new_array(arena, uint16_t, 2);
        dealt->ports[l][0] = some_ports[rng_below(rng, 2)];
        dealt->ports[l][1] = some_ports[2 + rng_below(rng, 2)];
        dealt->n_ports[l] = 2;
    }
    for (size_t i = 0; i < dealt->n; i++) {
        const size_t l = dealt->layer_of[i] = rng_below(rng, 3);
        dealt->models[i] = random_policy(arena, rng, i);
        compiled[l][n_compiled[l]++] = policy_compile(arena, dealt->models[i]);
    }
    for (size_t l = 0; l < 3; l++)
        dealt->layers[l] =
            policy_layer_new(arena, compiled[l], n_compiled[l], dealt->ports[l], dealt->n_ports[l]);
    dealt->set = (struct policy_set){.layers = dealt->layers, .n_layers = 3};
    if (rng_below(rng, 8) == 0)
        dealt->set.missing = STR("shop/missing");
}

static bool holds(const struct dealt *dealt, size_t layer, uint16_t port)
{
    return !dealt->ports[layer] || dealt->ports[layer][0] == port || dealt->ports[layer][1] == port;
}

static const char *compare(const struct dealt *dealt, const struct policy_question *question)
{
    const struct model_policy *applying[POLICIES_MAX];
    struct plain_set plain = {.policies = applying, .is_missing = dealt->set.missing.len > 0};
    for (size_t i = 0; i < dealt->n; i++)
        if (holds(dealt, dealt->layer_of[i], question->port))
            applying[plain.n_policies++] = dealt->models[i];
    const struct policy_answer compiled_answer = policy_ask(&dealt->set, question);
    const struct policy_answer plain_answer = plain_policy_ask(&plain, question);
    return policy_answers_differ(&compiled_answer, &plain_answer);
}

/* A connection's answer holds for its requests: two that differ are never said not to, what is
 * allowed without seeing them is allowed, and where none is looked at each has the very answer. */
static const char *compare_requests(const struct policy_answer *connection,
                                    const struct policy_answer *one,
                                    const struct policy_answer *other)
{
    if (!connection->looks_at_request &&
        (policy_answers_differ(connection, one) || policy_answers_differ(connection, other)))
        return "an answer that no request can change";
    if (connection->allowed && !(one->allowed && other->allowed))
        return "what is allowed without its requests";
    if (connection->depends_on_request)
        return NULL;
    if (one->allowed != connection->allowed || other->allowed != connection->allowed)
        return "a verdict that does not depend on the request";
    if (connection->allowed && (one->n_audits_matched != other->n_audits_matched ||
                                one->n_audits_matched != connection->n_audits_matched))
        return "audits that do not depend on the request";
    if (connection->allowed && (one->dry_run.would_deny != connection->dry_run.would_deny ||
                                other->dry_run.would_deny != connection->dry_run.would_deny))
        return "a dry run that does not depend on the request";
    return NULL;
}

struct tally { /* the cases are worth something: verdicts of every kind */
    uint64_t n_denied, n_by_rule, n_depending, n_differing, n_settled;
};

static const char *try_question(struct arena *arena, struct rng *rng, const struct dealt *dealt,
                                struct tally *tally)
{
    struct policy_question question = random_question(arena, rng);
    const char *difference = compare(dealt, &question);
    const struct policy_answer connection = policy_ask(&dealt->set, &question);
    struct policy_answer answers[2];
    for (size_t i = 0; i < 2 && !difference; i++) {
        question.request = random_request(arena, rng);
        difference = compare(dealt, &question);
        answers[i] = policy_ask(&dealt->set, &question);
    }
    if (difference)
        return difference;
    tally->n_denied += !connection.allowed;
    tally->n_by_rule += connection.has_rule;
    tally->n_depending += connection.depends_on_request;
    tally->n_settled += connection.allowed && !connection.looks_at_request;
    tally->n_differing += answers[0].allowed != answers[1].allowed;
    return compare_requests(&connection, &answers[0], &answers[1]);
}

Test(policy_differential, the_compiled_form_answers_as_the_plain_one)
{
    const uint64_t n_cases = number_of("ISTHMUS_POLICY_CASES", CASES_DEFAULT);
    uint64_t seed = number_of("ISTHMUS_POLICY_SEED", SEED_DEFAULT);
    struct tally tally = {0};

    for (uint64_t n = 0; n < n_cases; seed++) {
        struct arena arena = {0};
        struct dealt dealt = {0};
        struct rng rng;
        rng_seed(&rng, seed);
        deal(&arena, &rng, &dealt);
        for (size_t i = 0; i < QUESTIONS_A_SET && n < n_cases; i++, n++) {
            const char *difference = try_question(&arena, &rng, &dealt, &tally);
            cr_assert_null(difference, "%s differs: ISTHMUS_POLICY_SEED=%llu, question %zu of it",
                           difference, (unsigned long long)seed, i);
        }
        arena_fini(&arena);
    }

    cr_expect_gt(tally.n_denied, n_cases / 10);
    cr_expect_lt(tally.n_denied, n_cases - n_cases / 10);
    cr_expect_gt(tally.n_by_rule, n_cases / 10);
    cr_expect_gt(tally.n_depending, n_cases / 20);
    cr_expect_gt(tally.n_differing, n_cases / 100);
    cr_expect_gt(tally.n_settled, n_cases / 100);
    cr_log_info("%llu depend, %llu differ", (unsigned long long)tally.n_depending,
                (unsigned long long)tally.n_differing);
}
