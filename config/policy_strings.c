/*
 * Values that another one covers are left out when they are sorted ("ab*" beside "a*"), so the only
 * value of a kind that can match a subject is the greatest that is not greater than it: one
 * bisection a kind. Globs and templates have no such order and are asked one by one.
 */
#include "config/policy_strings.h"

#include <stdlib.h>

#include "config/path_template.h"

int policy_compare_backwards(struct str a, struct str b)
{
    const size_t len = a.len < b.len ? a.len : b.len;
    for (size_t i = 1; i <= len; i++) {
        const unsigned char x = (unsigned char)a.ptr[a.len - i];
        const unsigned char y = (unsigned char)b.ptr[b.len - i];
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

static int compare_values(enum match_kind kind, struct str a, struct str b)
{
    return kind == MATCH_SUFFIX ? policy_compare_backwards(a, b) : str_cmp(a, b);
}

static int compare_strings(const void *a, const void *b)
{
    const struct string_match *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return compare_values(x->kind, x->value, y->value);
}

static bool covers(const struct string_match *match, const struct string_match *other)
{
    if (match->kind != other->kind)
        return false;
    switch (match->kind) {
    case MATCH_EXACT:
    case MATCH_GLOB:
    case MATCH_TEMPLATE: return str_eq(match->value, other->value);
    case MATCH_PREFIX: return str_starts_with(other->value, match->value);
    case MATCH_SUFFIX: return str_ends_with(other->value, match->value);
    case MATCH_PRESENCE: return true;
    }
    return false;
}

size_t policy_sort_strings(struct string_match *matches, size_t n)
{
    size_t len = 0;
    if (n > 1)
        qsort(matches, n, sizeof(*matches), compare_strings);
    for (size_t i = 0; i < n; i++)
        if (len == 0 || !covers(&matches[len - 1], &matches[i]))
            matches[len++] = matches[i];
    return len;
}

/* '*' is any letters, also none. */
static bool glob_matches(struct str glob, struct str text)
{
    size_t g = 0, t = 0, star = SIZE_MAX, resume = 0;
    while (t < text.len) {
        if (g < glob.len && glob.ptr[g] == '*') {
            star = g++;
            resume = t;
        } else if (g < glob.len && glob.ptr[g] == text.ptr[t]) {
            g++;
            t++;
        } else if (star != SIZE_MAX) {
            g = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (g < glob.len && glob.ptr[g] == '*')
        g++;
    return g == glob.len;
}

static bool string_matches(const struct string_match *match, struct str subject)
{
    switch (match->kind) {
    case MATCH_EXACT: return str_eq(subject, match->value);
    case MATCH_PREFIX: return str_starts_with(subject, match->value);
    case MATCH_SUFFIX: return str_ends_with(subject, match->value);
    case MATCH_PRESENCE: return true;
    case MATCH_GLOB: return glob_matches(match->value, subject);
    case MATCH_TEMPLATE: return path_template_matches(match->value, subject);
    }
    return false;
}

/* The last value of the kind that is not greater than the subject, among the first n. */
static const struct string_match *floor_string(const struct string_match *matches, size_t n,
                                               enum match_kind kind, struct str subject)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct string_match *match = &matches[middle];
        if (match->kind < kind ||
            (match->kind == kind && compare_values(kind, match->value, subject) <= 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && matches[low - 1].kind == kind ? &matches[low - 1] : NULL;
}

/* Nothing matches an empty subject: who has no identity is nobody's "*". */
bool policy_any_string(const struct string_match *matches, size_t n, struct str subject)
{
    static const enum match_kind sorted[] = {MATCH_EXACT, MATCH_PREFIX, MATCH_SUFFIX};

    if (n == 0 || str_is_empty(subject))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
        const struct string_match *match = floor_string(matches, n, sorted[i], subject);
        if (match && string_matches(match, subject))
            return true;
    }
    for (size_t i = n; i > 0 && matches[i - 1].kind >= MATCH_PRESENCE; i--)
        if (string_matches(&matches[i - 1], subject))
            return true;
    return false;
}
