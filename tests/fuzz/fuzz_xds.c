/*
 * fuzz_xds.c - what arrives on a control stream, on either side of it, and what lies on the disk.
 *
 * The first byte says who reads the rest: a client, a server, the decoder of each type, the state
 * file. A client and a server read several messages, each with a length of two bytes in front.
 */
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/ensure.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const bool all_types[XDS_TYPES] = {true, true, true, true, true, true};

static void count(void *owner, struct str message)
{
    size_t *n = owner;

    ensure(message.len <= DELTA_RESPONSE_BYTES);
    ++*n;
}

/* Takes the next message off the front. */
static bool shift(struct str *rest, struct str *out_message)
{
    size_t len;

    if (rest->len < 2)
        return false;
    len = (size_t)(uint8_t)rest->ptr[0] << 8 | (uint8_t)rest->ptr[1];
    *out_message = str_sub(*rest, 2, len);
    *rest = str_sub(*rest, 2 + out_message->len, rest->len);
    return true;
}

/* What is held must survive the disk, whatever made it. */
static void check_round_trip(const struct delta_client *client)
{
    struct delta_client *again = delta_client_new(STR("n"), STR("c"), all_types);
    struct text file = {0}, why = {0};

    delta_client_save(client, &file);
    ensure(delta_client_load(again, text_str(&file), &why) == 0);
    ensure(delta_client_count(again) == delta_client_count(client));
    text_fini(&file);
    text_fini(&why);
    delta_client_free(again);
}

static void feed_client(struct str rest)
{
    struct delta_client *client = delta_client_new(STR("n"), STR("c"), all_types);
    struct str message;

    while (shift(&rest, &message)) {
        struct delta_outcome outcome = {0};
        size_t n_answers = 0;

        if (delta_client_receive(client, message, count, &n_answers, &outcome))
            break;
        ensure(n_answers <= 1);
        text_fini(&outcome.why);
    }
    check_round_trip(client);
    delta_client_free(client);
}

static struct resource_set *some_set(void)
{
    static struct model_policy a = {.name = {"a", 1}}, b = {.name = {"b", 1}};
    static struct model_resource resources[] = {{.kind = MODEL_POLICY, .of.policy = &a},
                                                {.kind = MODEL_POLICY, .of.policy = &b}};
    const struct model_resource *list[] = {&resources[0], &resources[1]};
    struct resource_set *set = resource_set_new();

    resource_set_replace(set, list, 2);
    return set;
}

static void feed_server(struct str rest)
{
    struct resource_set *set = some_set();
    struct delta_server *server = delta_server_new(set);
    struct text why = {0};
    struct str message, last;
    size_t n_responses = 0;

    while (shift(&rest, &message) &&
           delta_server_receive(server, message, count, &n_responses, &why) == 0)
        delta_server_notify(server, count, &n_responses);
    resource_set_replace(set, NULL, 0);
    delta_server_notify(server, count, &n_responses);
    (void)delta_server_nacks(server, &last);
    text_fini(&why);
    delta_server_free(server);
    resource_set_free(set);
}

/* What was decoded encodes to bytes that decode to the same. The name is what comes before the
 * first zero byte. */
static void feed_decoder(enum xds_type type, struct str rest)
{
    struct arena arena = {0};
    struct model_resource resource, again;
    struct text why = {0}, first = {0}, second = {0};
    struct str name = {0}, bytes = rest;

    (void)str_split(rest, '\0', &name, &bytes);
    if (xds_decode(type, name, bytes, &arena, &resource, &why) == 0) {
        struct str own = xds_encode(&resource, &arena, &first);
        ensure(str_eq(own, name));
        ensure(xds_decode(type, own, text_str(&first), &arena, &again, &why) == 0);
        (void)xds_encode(&again, &arena, &second);
        ensure(str_eq(text_str(&first), text_str(&second)));
    } else {
        ensure(why.len > 0);
    }
    text_fini(&first);
    text_fini(&second);
    text_fini(&why);
    arena_fini(&arena);
}

static void feed_file(struct str rest)
{
    struct delta_client *client = delta_client_new(STR("n"), STR("c"), all_types);
    struct text why = {0}, file = {0};

    if (delta_client_load(client, rest, &why) == 0)
        check_round_trip(client);
    /* The same with a right frame, or the checksum would keep everything out. */
    text_add(&file, STR("ISTHXDS1"));
    text_add(&file, rest);
    text_add(&file, (struct str){"END\1\0\0\0\0\0\0\0", 11});
    for (unsigned i = 0; i < 8; i++)
        text_addc(&file, 0);
    uint64_t hash = str_hash(str_of(file.ptr, file.len - 8), 0);
    for (unsigned i = 0; i < 8; i++)
        file.ptr[file.len - 8 + i] = (char)(hash >> 8 * i);
    if (delta_client_load(client, text_str(&file), &why) == 0)
        check_round_trip(client);
    text_fini(&file);
    text_fini(&why);
    delta_client_free(client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data + 1, size - 1};

    if (size == 0)
        return 0;
    log_set_level(LOG_ERROR);
    switch (data[0] % 9) {
    case 0: feed_client(rest); break;
    case 1: feed_server(rest); break;
    case 2: feed_decoder(XDS_ADDRESS, rest); break;
    case 3: feed_decoder(XDS_AUTHORIZATION, rest); break;
    case 4: feed_decoder(XDS_SECRET, rest); break;
    case 5: feed_file(rest); break;
    case 6: feed_decoder(XDS_CLUSTER, rest); break;
    case 7: feed_decoder(XDS_ROUTE, rest); break;
    default: feed_decoder(XDS_REQUEST_AUTH, rest);
    }
    return 0;
}
