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

Test(policy_differential, the_compiled_form_answers_as_the_plain_one)
{
    const uint64_t n_cases = number_of("ISTHMUS_POLICY_CASES", CASES_DEFAULT);
    uint64_t seed = number_of("ISTHMUS_POLICY_SEED", SEED_DEFAULT), n_denied = 0, n_by_rule = 0;

    for (uint64_t n = 0; n < n_cases; seed++) {
        struct arena arena = {0};
        struct dealt dealt = {0};
        struct rng rng;
        rng_seed(&rng, seed);
        deal(&arena, &rng, &dealt);
        for (size_t i = 0; i < QUESTIONS_A_SET && n < n_cases; i++, n++) {
            const struct policy_question question = random_question(&arena, &rng);
            const char *difference = compare(&dealt, &question);
            cr_assert_null(difference, "%s differs: ISTHMUS_POLICY_SEED=%llu, question %zu of it",
                           difference, (unsigned long long)seed, i);
            const struct policy_answer answer = policy_ask(&dealt.set, &question);
            n_denied += !answer.allowed;
            n_by_rule += answer.has_rule;
        }
        arena_fini(&arena);
    }

    /* The cases are worth something: verdicts of every kind. */
    cr_expect_gt(n_denied, n_cases / 10);
    cr_expect_lt(n_denied, n_cases - n_cases / 10);
    cr_expect_gt(n_by_rule, n_cases / 10);
}
