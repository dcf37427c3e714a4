/*
 * policy_table.h - the file of `isthmus check --policy-test`: kind PolicyTest.
 *
 * Either `control` names a ControlConfig, whose cluster, trust domain and root namespace hold, or
 * they are written here. See docs/policy.md and config/examples/policy-test.yaml.
 *
 * Owner: policy_table_fini(). Errors go to the diag with their place. Thread: one.
 */
#ifndef ISTHMUS_RUN_POLICY_TABLE_H
#define ISTHMUS_RUN_POLICY_TABLE_H

#include "config/bootstrap.h"
#include "config/policy.h"
#include "config/yaml.h"

#define POLICY_CASES_MAX 100000

struct policy_case {
    struct place place, from_place, to_place;
    struct str name;               /* "" when it has none */
    struct str principal;          /* spiffe://..., with an address beside it or not */
    struct str pod;                /* or "namespace/name" */
    struct str address;            /* or an address alone: plaintext */
    struct str to_pod, to_service; /* one of them; a service as namespace/name or as a full host */
    uint16_t port;                 /* of the service, else of the pod */
    const struct policy_request *request; /* NULL: a connection; host "" when it is not said */
    bool is_allowed;                      /* expected */
    struct str policy;                    /* expected to decide; "" when not said */
};

struct policy_table {
    struct arena arena;
    struct control_config config;
    struct policy_case *cases;
    size_t n_cases;
};

/* cases[].request, into the table's arena; policy_table_request.c. */
const struct policy_request *policy_table_read_request(const struct yaml *node, struct arena *arena,
                                                       struct diag *diag);

/* What could be read, errors or not. */
void policy_table_read(const char *path, struct policy_table *out_table, struct diag *diag);
void policy_table_fini(struct policy_table *table);

#endif
