/*
 * policy_strings.h - a field of strings and one subject; inside the room.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_CONFIG_POLICY_STRINGS_H
#define ISTHMUS_CONFIG_POLICY_STRINGS_H

#include "config/model.h"

/* Sorts a field's values in place and leaves out what others cover; returns how many are left. */
size_t policy_sort_strings(struct string_match *matches, size_t n);
/* Of values sorted so. Nothing matches an empty subject. */
bool policy_any_string(const struct string_match *matches, size_t n, struct str subject);

/* By the letters from the end, as suffixes are looked up. */
int policy_compare_backwards(struct str a, struct str b);

#endif
