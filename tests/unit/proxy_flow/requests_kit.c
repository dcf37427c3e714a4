#include "requests_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct town town;
struct town_call call;
struct model_service *service;
unsigned n_answered[APP_TAPS_MAX];

void open_two(enum app_protocol protocol)
{
    memset(n_answered, 0, sizeof n_answered);
    town_open(&town);
    town_open_second(&town);
    town_pay(&town, "pay-2", "n2", PAY2);
    service = town_service(&town);
    service->ports[0].app_protocol = protocol;
}

void start(void)
{
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
}

void close_all(void)
{
    town_close_with(&town, &call);
}

unsigned times_in(struct str text, const char *part)
{
    unsigned n = 0;
    for (; text.len >= strlen(part); text = str_sub(text, 1, text.len))
        n += str_starts_with(text, str_from(part));
    return n;
}

bool find_asked(void *out_idx)
{
    for (unsigned i = 0; i < town.n_served; i++)
        if (times_in(text_str(&town.served[i].got), "\r\n\r\n") > n_answered[i]) {
            *(unsigned *)out_idx = i;
            return true;
        }
    return false;
}

bool is_told(void *status)
{
    return times_in(text_str(&call.tap.got), status) > 0;
}

void answer(unsigned idx, const char *status)
{
    char text[128];
    (void)snprintf(text, sizeof text, "HTTP/1.1 %s X\r\ncontent-length: 0\r\n\r\n", status);
    (void)stream_write_copy(town.served[idx].stream, text, strlen(text));
}

void open_near_and_far(enum app_protocol protocol)
{
    memset(n_answered, 0, sizeof n_answered);
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n1", PAY2);
    town_pay(&town, "pay-1", "n2", PAY1)->region = STR("r2");
    service = town_service(&town);
    service->ports[0].app_protocol = protocol;
}

void leave_near(void)
{
    snap_drop(&town.snap, "pay-2");
    town_service(&town);
    town_learn(&town);
}
