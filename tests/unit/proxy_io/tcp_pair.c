#include "tcp_pair.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/kit/loop_kit.h"

struct loop *loop;
struct end a, b;

void start(void)
{
    loop = loop_new();
    pair_open(loop, &a, &b);
}

static void pause_in_data(void *owner, struct slice bytes)
{
    struct end *end = owner;
    end_events.on_data(end, bytes);
    stream_pause(end->stream);
}

static struct stream_events pausing; /* as end_events, but for the data */

void start_pausing(void)
{
    start();
    pausing = end_events;
    pausing.on_data = pause_in_data;
    stream_set_owner(b.stream, &pausing, &b);
}

int start_plain(void)
{
    struct door door = {0};
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", &a, 1);
    const int fd = plain_connect(&door.addr);
    cr_assert(run_until_count(loop, &door.n_accepted, 1, PATIENCE_MS));
    listener_close(door.listener);
    return fd;
}

void finish(void)
{
    if (a.stream)
        end_close(&a, 0);
    if (b.stream)
        end_close(&b, 0);
    cr_expect_eq(a.n_inside + b.n_inside, 0, "an event came out of a call");
    end_free(&a);
    end_free(&b);
    cr_expect(run_until_empty(loop, PATIENCE_MS));
    cr_expect_eq(loop_slabs(loop)->n_live, 0);
    loop_free(loop);
}

void say(struct end *end, const char *text)
{
    end->in_call = true;
    cr_assert(stream_write_copy(end->stream, text, strlen(text)));
    end->in_call = false;
}

void fill_socket(size_t *total)
{
    do {
        end_write_pattern(&a, *total += 50000);
        loop_turn(loop, false);
    } while (stream_queued(a.stream) == 0);
}

bool b_got(void *ctx)
{
    return b.n_got >= *(size_t *)ctx;
}
