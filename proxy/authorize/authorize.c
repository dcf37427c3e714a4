#include "proxy/authorize/authorize.h"

#include <stdio.h>

struct policy_question authorize_question(const struct principal *source,
                                          const struct addr *address)
{
    return (struct policy_question){
        .principal = source->name,
        .namespace_ = source->namespace_,
        .service_account = source->service_account,
        .source = source->ip,
        .destination = address->ip,
        .port = address->port,
    };
}

static bool is_by_request(const struct workload *destination, uint16_t port,
                          const struct policy_answer *answer, bool asks_tokens)
{
    if (!answer->depends_on_request && !(answer->allowed && asks_tokens))
        return false;
    switch (workload_protocol(destination, port)) {
    case APP_HTTP11:
    case APP_HTTP2:
    case APP_GRPC: return true;
    case APP_UNKNOWN: return !answer->allowed || asks_tokens;
    case APP_TCP:
    case APP_TLS: break;
    }
    return false;
}

struct verdict authorize(const struct workload *destination, const struct principal *source,
                         const struct addr *address, const struct policy_request *request)
{
    struct policy_question question = authorize_question(source, address);
    question.request = request;
    struct verdict verdict = {
        .answer = policy_ask(destination->policies, &question),
    };
    const bool asks_tokens = !request && token_set_asks(destination->tokens, address->port);
    verdict.is_by_request =
        !request && is_by_request(destination, address->port, &verdict.answer, asks_tokens);
    verdict.asks_tokens = verdict.is_by_request && asks_tokens;
    verdict.err = verdict.answer.allowed ? 0 : -ERR_DENIED;
    return verdict;
}

const char *verdict_text(const struct verdict *verdict, char *buf, size_t size)
{
    const struct policy_answer *answer = &verdict->answer;
    const char *prefix = answer->allowed ? "allowed" : err_text(ERR_DENIED);
    const char *sentence = answer->sentence ? answer->sentence : "";
    if (str_is_empty(answer->policy))
        (void)snprintf(buf, size, "%s: %s", prefix, sentence);
    else
        (void)snprintf(buf, size, "%s: %s: %.*s", prefix, sentence, STR_ARG(answer->policy));
    return buf;
}
