/* Drills as the admin port orders them, and what it is told. */
#include "proxy/base/err.h"
#include "xds/control/control.h"
#include "xds/control/drills.h"
#include "xds/control/inside.h"

static void add_ms(struct text *out, const char *key, uint64_t ns)
{
    text_addf(out, ",\"%s\":%llu", key, (unsigned long long)(ns / NS_PER_MS));
}

static void add_names(struct text *out, uint64_t id, struct str service, struct str cluster)
{
    struct str namespace_, host;
    if (!str_split(service, '/', &namespace_, &host))
        host = service;
    text_addf(out, "{\"id\":\"%llu\",\"service\":", (unsigned long long)id);
    text_add_json_string(out, host);
    text_add(out, STR(",\"namespace\":"));
    text_add_json_string(out, namespace_);
    text_add(out, STR(",\"cluster\":"));
    text_add_json_string(out, cluster);
}

int control_drill_start(struct control *control, const struct drill_request *request,
                        struct text *out, struct text *why)
{
    struct drill_ground ground;
    struct arena arena = {0};
    uint64_t id = 0;
    int err = drill_check(control->registry, control->config, request, &ground, why);
    if (err < 0)
        return err;
    /* The registry that all this is borrowed from goes when the drill begins. */
    const struct str service = arena_str(&arena, ground.service);
    const struct str tier = arena_str(&arena, ground.policy->tier);
    const uint64_t recovery_ns = ground.policy->recovery_time_ns;
    err = drills_start(control->drills, service, request->cluster, request->length_ns, &id, why);
    if (err == 0) {
        add_names(out, id, service, request->cluster);
        add_ms(out, "lease_ms", DRILL_LEASE_NS);
        add_ms(out, "length_ms", request->length_ns);
        text_add(out, STR(",\"tier\":"));
        text_add_json_string(out, tier);
        add_ms(out, "recovery_time_ms", recovery_ns);
        text_addf(out, ",\"ready_taken\":%llu,\"ready_left\":%llu}\n",
                  (unsigned long long)ground.ready_taken, (unsigned long long)ground.ready_left);
    }
    arena_fini(&arena);
    return err;
}

static int explain(int err, struct text *why)
{
    if (err < 0)
        text_add(why, STR("there is no such drill: it is over, or control was started anew"));
    return err;
}

int control_drill_renew(struct control *control, uint64_t id, struct text *why)
{
    return explain(drills_renew(control->drills, id), why);
}

int control_drill_stop(struct control *control, uint64_t id, struct text *why)
{
    return explain(drills_stop(control->drills, id), why);
}

static uint64_t left(uint64_t until_ns, uint64_t now_ns)
{
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

void control_drills_json(const struct control *control, struct text *out)
{
    const uint64_t now_ns = loop_now_ns(control->loop);
    const struct drill *drill;
    text_add(out, STR("{\"drills\":["));
    for (size_t i = 0; (drill = drills_at(control->drills, i)) != NULL; i++) {
        if (i > 0)
            text_addc(out, ',');
        add_names(out, drill->id, drill->service, drill->cluster);
        add_ms(out, "left_ms", left(drill->end_ns, now_ns));
        add_ms(out, "lease_left_ms", left(drill->lease_end_ns, now_ns));
        text_addc(out, '}');
    }
    text_add(out, STR("]}\n"));
}
