#include "exchange_kit.h"

#include <criterion/criterion.h>
#include <string.h>

struct town town;
struct town_call call;

void open_with(const struct walk_options *options)
{
    town_open(&town);
    struct model_service *service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    town_walk(&town.n1, options);
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
}

void close_all(void)
{
    town_close_with(&town, &call);
}

struct wanted {
    const struct tap *tap;
    const char *part;
    unsigned times;
};

bool has_come(void *ctx)
{
    const struct wanted *wanted = ctx;
    struct str rest = text_str(&wanted->tap->got);
    unsigned n = 0;
    for (; rest.len >= strlen(wanted->part); rest = str_sub(rest, 1, rest.len))
        n += str_starts_with(rest, str_from(wanted->part));
    return n >= wanted->times;
}

bool got(const struct tap *tap, const char *part, unsigned times)
{
    struct wanted wanted = {tap, part, times};
    return run_until(town.world.loop, has_come, &wanted, PATIENCE_MS);
}

bool got_already(const char *part)
{
    return str_contains(text_str(&call.tap.got), str_from(part));
}

bool is_served(void *ctx)
{
    return town.n_served >= *(const unsigned *)ctx;
}

bool is_asked(unsigned n_served)
{
    return run_until(town.world.loop, is_served, &n_served, PATIENCE_MS) &&
           got(&town.served[n_served - 1], "\r\n\r\n", 1);
}

void answer(const char *text)
{
    (void)stream_write_copy(town.served[0].stream, text, strlen(text));
}
