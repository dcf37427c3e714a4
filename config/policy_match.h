/*
 * policy_match.h - one rule and one question; inside the room.
 *
 * Values of compiled fields are sorted by policy_sort_*() and found by bisection.
 * Thread: any.
 */
#ifndef ISTHMUS_CONFIG_POLICY_MATCH_H
#define ISTHMUS_CONFIG_POLICY_MATCH_H

#include "config/policy_http.h"
#include "config/policy_strings.h"

/* A question with what follows from it; points into itself. */
struct policy_asked {
    const struct policy_question *question;
    struct str trust_domain;
    struct policy_shown shown;
};

void policy_take_question(struct policy_asked *out_asked, const struct policy_question *question);

/* POLICY_MAYBE: some requests on the connection may match and others not. Only without a request.
 * In this order "and" is the least of several and "or" the greatest. */
enum policy_truth { POLICY_NO, POLICY_MAYBE, POLICY_YES };

enum policy_truth policy_rule_truth(const struct model_rule *rule, enum policy_action action,
                                    const struct policy_asked *asked);
enum policy_truth policy_match_truth(const struct model_match *match, enum policy_action action,
                                     const struct policy_asked *asked);
/* True for a match that matches nobody whatever is asked. */
bool policy_match_is_dead(const struct model_match *match, enum policy_action action);
bool policy_match_says_nothing(const struct model_match *match);

/* Fields alone, for explanations. */
bool policy_any_account(const struct account_match *accounts, size_t n,
                        const struct policy_question *question);
bool policy_any_cidr(const struct cidr *cidrs, size_t n, const struct ip *ip);
bool policy_any_port(const uint16_t *ports, size_t n, uint16_t port);

/* Sort a field's values in place and leave out what others cover; return how many are left. */
size_t policy_sort_accounts(struct account_match *accounts, size_t n);
size_t policy_sort_cidrs(struct cidr *cidrs, size_t n);
size_t policy_sort_ports(uint16_t *ports, size_t n);

#endif
