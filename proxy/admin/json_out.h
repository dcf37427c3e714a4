/*
 * json_out.h - JSON pages, member by member: commas come by themselves.
 *
 * Owner: the caller's text. Thread: any.
 */
#ifndef ISTHMUS_ADMIN_JSON_OUT_H
#define ISTHMUS_ADMIN_JSON_OUT_H

#include "proxy/base/text.h"

/* Below the bound of a text, with room for one more entry: where a page stops and says so. */
#define JSON_OUT_MAX ((size_t)48 << 20)

/* The comma between what comes and what stands before it, if there is something. */
void json_out_comma(struct text *out);
void json_out_key(struct text *out, const char *key);
void json_out_str(struct text *out, const char *key, struct str value);
void json_out_size(struct text *out, const char *key, size_t value);
void json_out_bool(struct text *out, const char *key, bool value);
/* With two decimals; null when it is negative, which stands for "not known". */
void json_out_known(struct text *out, const char *key, double value);
/* null for 0. */
void json_out_time(struct text *out, const char *key, int64_t wall_ns);

#endif
