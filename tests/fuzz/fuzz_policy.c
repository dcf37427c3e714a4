/*
 * fuzz_policy.c - any bytes as AuthorizationPolicies, and questions out of the same bytes: what is
 * accepted has to be answered by the compiled form as the plain one of tests/kit answers it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "config/k8s.h"
#include "config/policy_explain.h"
#include "tests/kit/plain_policy.h"

#define QUESTIONS    16
#define POLICIES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct manifests *read(struct str bytes)
{
    struct arena arena = {0};
    struct diag diag = {0};
    struct k8s_reader reader;
    struct yaml **docs;
    manifests_begin(&reader, &diag);
    reader.file = STR("input.yaml");
    const size_t n_docs = yaml_parse(&arena, reader.file, bytes, &docs, &diag);
    for (size_t i = 0; i < n_docs; i++)
        manifests_add_doc(&reader, docs[i]);
    struct manifests *set = manifests_end(&reader);
    arena_fini(&arena);
    diag_fini(&diag);
    return set;
}

/* As the control process names them; of one namespace, which is how the plain form orders them. */
static size_t take(const struct manifests *set, struct arena *arena, struct model_policy **models)
{
    size_t n = set->n_policies < POLICIES_MAX ? set->n_policies : POLICIES_MAX;
    for (size_t i = 0; i < n; i++) {
        models[i] = arena_new(arena, struct model_policy);
        *models[i] = set->policies[i].policy;
        models[i]->name = arena_printf(arena, "policy-%02zu", i);
        models[i]->namespace_ = STR("shop");
    }
    return n;
}

static struct str any_value(struct rng *rng, const struct string_match *values, size_t n)
{
    return n > 0 ? values[rng_below(rng, (uint32_t)n)].value : (struct str){0};
}

/* Towards what the policy asks for, so that something matches. */
static void lean(struct arena *arena, struct rng *rng, const struct model_match *m,
                 struct policy_question *question)
{
    const struct str principal = any_value(rng, m->principals, m->n_principals);
    const struct str namespace_ = any_value(rng, m->namespaces, m->n_namespaces);
    if (principal.len > 0)
        question->principal =
            arena_printf(arena, "%.*s%s", STR_ARG(principal), rng_below(rng, 4) == 0 ? "x" : "");
    if (namespace_.len > 0)
        question->namespace_ = namespace_;
    if (m->n_ports > 0)
        question->port = m->ports[rng_below(rng, (uint32_t)m->n_ports)];
    if (m->n_source_ips > 0)
        question->source = m->source_ips[rng_below(rng, (uint32_t)m->n_source_ips)].ip;
    if (m->n_accounts > 0) {
        question->namespace_ = m->accounts[0].namespace_;
        question->service_account = m->accounts[0].name;
    }
}

static struct policy_question make_question(struct arena *arena, struct rng *rng,
                                            struct model_policy *const *models, size_t n)
{
    struct policy_question question = random_question(arena, rng);
    const struct model_policy *model = models[rng_below(rng, (uint32_t)n)];
    for (size_t r = 0; r < model->n_rules; r++)
        for (size_t c = 0; c < model->rules[r].n_clauses; c++)
            for (size_t m = 0; m < model->rules[r].clauses[c].n_matches; m++)
                if (rng_below(rng, 2) == 0)
                    lean(arena, rng, &model->rules[r].clauses[c].matches[m], &question);
    return question;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "fuzz_policy: %s differs between the compiled form and the plain one\n",
                  what);
    abort();
}

static void ask(struct arena *arena, struct model_policy *const *models, size_t n, uint64_t seed)
{
    const struct model_policy *plain_models[POLICIES_MAX];
    const struct policy *compiled[POLICIES_MAX];
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        plain_models[i] = models[i];
        compiled[i] = policy_compile(arena, models[i]);
    }
    const struct policy_layer *layer = policy_layer_new(arena, compiled, n, NULL, 0);
    const struct policy_set set = {.layers = &layer, .n_layers = 1};
    const struct plain_set plain = {.policies = plain_models, .n_policies = n};
    for (size_t i = 0; i < QUESTIONS; i++) {
        struct policy_explanation explanation;
        const struct policy_question question = make_question(arena, &rng, models, n);
        const struct policy_answer expected = plain_policy_ask(&plain, &question);
        policy_explain(&set, &question, arena, &explanation);
        const char *difference = policy_answers_differ(&explanation.answer, &expected);
        if (difference)
            fail(difference);
        for (size_t l = 0; l < explanation.n_lines; l++)
            if (explanation.lines[l].matches != str_is_empty(explanation.lines[l].why_not))
                fail("the explanation");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct model_policy *models[POLICIES_MAX];
    struct manifests *set = read(str_of(data, size));
    if (!set)
        return 0;
    const size_t n = take(set, &arena, models);
    if (n > 0)
        ask(&arena, models, n, str_hash(str_of(data, size), 1));
    manifests_free(set);
    arena_fini(&arena);
    return 0;
}
