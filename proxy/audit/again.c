#include "proxy/audit/again.h"

#include <string.h>

/* By the lengths and last bytes of the strings, in which paths differ, and what differs first among
 * the values: the connection. */
static struct again_place *place_of(struct again *again, const struct audit_facts *facts)
{
    uint64_t mixed = 0;
    memcpy(&mixed, facts->values,
           facts->values_len < sizeof mixed ? facts->values_len : sizeof mixed);
    for (size_t i = 0; i < facts->n_strings; i++) {
        const struct str value = facts->strings[i];
        mixed = mixed * 31 + value.len;
        if (value.len > 0)
            mixed += (uint64_t)(uint8_t)value.ptr[value.len - 1] << 8;
    }
    return &again->at[mixed * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (AGAIN_MAX - 1)];
}

static bool is_made_of(const struct again_place *place, const struct audit_facts *facts)
{
    const char *at = place->bytes + place->values_len;
    if (place->values_len != facts->values_len || place->n_strings != facts->n_strings ||
        memcmp(place->bytes, facts->values, facts->values_len) != 0)
        return false;
    for (size_t i = 0; i < facts->n_strings; at += place->len[i++])
        if (!str_eq(facts->strings[i], str_of(at, place->len[i])))
            return false;
    return true;
}

struct fold_record *again_find(struct again *again, const struct audit_facts *facts)
{
    const struct again_place *place = place_of(again, facts);
    return place->record && is_made_of(place, facts) ? place->record : NULL;
}

void again_keep(struct again *again, const struct audit_facts *facts, struct fold_record *record)
{
    struct again_place *place = place_of(again, facts);
    size_t used = facts->values_len;
    for (size_t i = 0; i < facts->n_strings; i++)
        used += facts->strings[i].len;
    if (used > AGAIN_BYTES || facts->n_strings > AGAIN_STRINGS)
        return;
    fold_hold(record, &place->record);
    place->values_len = facts->values_len;
    place->n_strings = facts->n_strings;
    char *to = place->bytes;
    memcpy(to, facts->values, facts->values_len);
    to += facts->values_len;
    for (size_t i = 0; i < facts->n_strings; i++) {
        const struct str value = facts->strings[i];
        place->len[i] = value.len;
        if (value.len > 0)
            memcpy(to, value.ptr, value.len);
        to += value.len;
    }
}
