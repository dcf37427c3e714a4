#include "proxy/accept/arrival.h"

#include "proxy/base/mem.h"
#include "proxy/http/h2.h"

struct arrival *arrival_new(enum arrival_kind kind, struct stream *stream,
                            const struct addr *source, const struct addr *destination)
{
    struct arrival *arrival = mem_new(struct arrival);
    arrival->kind = kind;
    arrival->stream = stream;
    arrival->source = *source;
    arrival->destination = *destination;
    return arrival;
}

struct stream *arrival_take_stream(struct arrival *arrival)
{
    struct stream *stream = arrival->stream;
    arrival->stream = NULL;
    return stream;
}

void arrival_answer(struct arrival *arrival, const char *status, struct str baggage,
                    bool end_stream)
{
    struct h2_field fields[2];
    size_t n = 0;
    fields[n++] = (struct h2_field){STR(":status"), str_from(status)};
    if (!str_is_empty(baggage))
        fields[n++] = (struct h2_field){STR("baggage"), baggage};
    h2_respond(arrival->stream, fields, n, end_stream);
}

void arrival_free(struct arrival *arrival, int err)
{
    if (arrival->stream)
        stream_close(arrival->stream, err);
    arena_fini(&arrival->arena);
    mem_free(arrival);
}
