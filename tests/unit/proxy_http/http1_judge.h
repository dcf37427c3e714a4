/*
 * http1_judge.h - llhttp as the judge of what our codec reads.
 *
 * Both readings of the same bytes are written down in one form, message by message: the method or
 * the status, the fields that are not of the hop, the body, the end. What ours took as whole,
 * llhttp has to have read the same way; what it refuses is for ours to refuse as well, but for the
 * methods that it does not know.
 */
#ifndef ISTHMUS_TESTS_HTTP1_JUDGE_H
#define ISTHMUS_TESTS_HTTP1_JUDGE_H

#include "proxy/base/text.h"
#include "proxy/http/message.h"

/* Our reading. */
void judge_request(struct text *ours, const struct http_request *request);
void judge_response(struct text *ours, const struct http_response *response);
void judge_data(struct text *ours, struct str bytes);
void judge_end(struct text *ours);

/* Ensures that llhttp reads in the bytes what ours did. to_head: they answer a HEAD. */
void judge_check_requests(const struct text *ours, struct str bytes);
void judge_check_responses(const struct text *ours, struct str bytes, bool to_head, bool has_end);

#endif
