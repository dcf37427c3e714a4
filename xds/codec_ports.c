/*
 * codec_ports.c - what workloads and services share: ports, addresses, our extension, texts.
 */
#include <stdarg.h>
#include <string.h>

#include "proxy/base/err.h"
#include "xds/codec_parts.h"

#define TYPE_URL_PREFIX "type.googleapis.com/"

int codec_refuse(struct text *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_addv(why, format, args);
    va_end(args);
    return -ERR_INVALID;
}

struct str codec_keep(struct arena *arena, const char *field)
{
    return field && field[0] ? arena_str(arena, str_from(field)) : (struct str){0};
}

struct str *codec_keep_all(struct arena *arena, char *const *fields, size_t n_fields)
{
    struct str *texts = arena_new_array(arena, struct str, n_fields);

    for (size_t i = 0; i < n_fields; i++)
        texts[i] = codec_keep(arena, fields[i]);
    return texts;
}

char **codec_texts(struct arena *arena, const struct str *texts, size_t n_texts)
{
    char **fields = arena_new_array(arena, char *, n_texts);

    for (size_t i = 0; i < n_texts; i++)
        fields[i] = wire_text(arena, texts[i]);
    return fields;
}

int codec_check_name(struct str name, struct str own, struct text *why)
{
    if (str_eq(name, own))
        return 0;
    return codec_refuse(why, "the resource is named \"%.*s\" but its content says \"%.*s\"",
                        STR_ARG(name), STR_ARG(own));
}

int codec_ip_decode(const ProtobufCBinaryData *bytes, const char *field, struct ip *out_ip,
                    struct text *why)
{
    if (ip_from_bytes(bytes->data, bytes->len, out_ip))
        return codec_refuse(why, "%s: %zu bytes are no IP address (4 or 16)", field, bytes->len);
    return 0;
}

ProtobufCBinaryData codec_ip_encode(const struct ip *ip, struct arena *arena)
{
    uint8_t *bytes = arena_alloc(arena, sizeof(ip->bytes));

    memcpy(bytes, ip->bytes, sizeof(ip->bytes));
    return (ProtobufCBinaryData){.len = ip->len, .data = bytes};
}

Google__Protobuf__Any *codec_any(struct arena *arena, const char *type_name,
                                 const ProtobufCMessage *message)
{
    Google__Protobuf__Any *any = arena_new(arena, Google__Protobuf__Any);
    struct str url = arena_printf(arena, TYPE_URL_PREFIX "%s", type_name);
    struct text packed = {0};

    google__protobuf__any__init(any);
    wire_pack(message, &packed);
    any->type_url = wire_text(arena, url);
    any->value.len = packed.len;
    any->value.data = (uint8_t *)wire_text(arena, text_str(&packed));
    text_fini(&packed);
    return any;
}

struct str codec_any_value(const Google__Protobuf__Any *any, const char *type_name)
{
    struct str prefix, type;

    if (!any || !str_rsplit(str_from(any->type_url), '/', &prefix, &type) ||
        !str_eq(type, str_from(type_name)))
        return (struct str){0};
    return (struct str){any->value.len ? (const char *)any->value.data : "", any->value.len};
}

Istio__Workload__Extension *codec_extension(struct arena *arena, const char *type_name,
                                            const ProtobufCMessage *message)
{
    Istio__Workload__Extension *extension = arena_new(arena, Istio__Workload__Extension);

    istio__workload__extension__init(extension);
    extension->name = wire_text(arena, str_from(type_name));
    extension->config = codec_any(arena, type_name, message);
    return extension;
}

struct str codec_find_extension(Istio__Workload__Extension *const *extensions, size_t n_extensions,
                                const char *type_name)
{
    for (size_t i = 0; i < n_extensions; i++) {
        struct str value = codec_any_value(extensions[i]->config, type_name);

        if (value.ptr)
            return value;
    }
    return (struct str){0};
}

static Istio__Workload__Port *port_encode(const struct model_port *port, struct arena *arena)
{
    Istio__Workload__Port *message = arena_new(arena, Istio__Workload__Port);

    istio__workload__port__init(message);
    message->service_port = port->service_port;
    message->target_port = port->target_port;
    message->app_protocol = (Istio__Workload__AppProtocol)port->app_protocol;
    return message;
}

static Isthmus__V1alpha1__PortDetails *details_encode(const struct model_port *port,
                                                      struct arena *arena)
{
    Isthmus__V1alpha1__PortDetails *message = arena_new(arena, Isthmus__V1alpha1__PortDetails);

    isthmus__v1alpha1__port_details__init(message);
    message->service_port = port->service_port;
    message->name = wire_text(arena, port->name);
    message->is_udp = port->is_udp;
    if (port->is_udp) {
        message->target_port = port->target_port;
        message->app_protocol = port->app_protocol;
    }
    return message;
}

struct codec_ports codec_ports_encode(const struct model_port *ports, size_t n_ports,
                                      struct arena *arena)
{
    struct codec_ports made = {
        .ports = arena_new_array(arena, Istio__Workload__Port *, n_ports),
        .details = arena_new_array(arena, Isthmus__V1alpha1__PortDetails *, n_ports),
    };

    for (size_t i = 0; i < n_ports; i++) {
        if (!ports[i].is_udp)
            made.ports[made.n_ports++] = port_encode(&ports[i], arena);
        if (ports[i].is_udp || !str_is_empty(ports[i].name))
            made.details[made.n_details++] = details_encode(&ports[i], arena);
    }
    return made;
}

static struct model_port *find_port(struct model_port *ports, size_t n_ports, uint32_t service_port,
                                    bool is_udp)
{
    for (size_t i = 0; i < n_ports; i++)
        if (ports[i].service_port == service_port && ports[i].is_udp == is_udp)
            return &ports[i];
    return NULL;
}

/* Appends one port after checking it against the range and against those that are there. */
static int add_port(struct model_port *ports, size_t *n_ports, const struct model_port *port,
                    uint32_t service_port, uint32_t target_port, uint32_t app_protocol,
                    const char *of, struct text *why)
{
    if (service_port == 0 || service_port > UINT16_MAX)
        return codec_refuse(why, "%s: service_port %u is not a port (1 to 65535)", of,
                            service_port);
    if (target_port > UINT16_MAX)
        return codec_refuse(why, "%s: target_port %u is not a port (0 to 65535)", of, target_port);
    if (app_protocol > APP_TLS)
        return codec_refuse(why, "%s: app_protocol %u is not known (0 to %d)", of, app_protocol,
                            APP_TLS);
    if (find_port(ports, *n_ports, service_port, port->is_udp))
        return codec_refuse(why, "%s: port %u stands there twice", of, service_port);
    ports[*n_ports] = *port;
    ports[*n_ports].service_port = (uint16_t)service_port;
    ports[*n_ports].target_port = (uint16_t)target_port;
    ports[*n_ports].app_protocol = (enum app_protocol)app_protocol;
    (*n_ports)++;
    return 0;
}

static int apply_details(const Isthmus__V1alpha1__PortDetails *details, struct model_port *ports,
                         size_t *n_ports, const char *of, struct arena *arena, struct text *why)
{
    struct model_port *port;

    if (details->is_udp) {
        struct model_port udp = {.name = codec_keep(arena, details->name), .is_udp = true};
        return add_port(ports, n_ports, &udp, details->service_port, details->target_port,
                        details->app_protocol, of, why);
    }
    port = find_port(ports, *n_ports, details->service_port, false);
    if (!port)
        return codec_refuse(why, "%s: details name port %u, which is not there", of,
                            details->service_port);
    port->name = codec_keep(arena, details->name);
    return 0;
}

int codec_ports_decode(const struct codec_ports *from, const char *of, struct arena *arena,
                       struct model_port **out_ports, size_t *out_n, struct text *why)
{
    size_t n_ports = 0;
    struct model_port *ports;
    int err = 0;

    if (from->n_ports > MODEL_PORTS_MAX || from->n_details > MODEL_PORTS_MAX)
        return codec_refuse(why, "%s: %zu ports (at most %d)", of,
                            from->n_ports > from->n_details ? from->n_ports : from->n_details,
                            MODEL_PORTS_MAX);
    ports = arena_new_array(arena, struct model_port, from->n_ports + from->n_details);
    for (size_t i = 0; i < from->n_ports && !err; i++) {
        const Istio__Workload__Port *port = from->ports[i];
        err = add_port(ports, &n_ports, &(struct model_port){0}, port->service_port,
                       port->target_port, (uint32_t)port->app_protocol, of, why);
    }
    for (size_t i = 0; i < from->n_details && !err; i++)
        err = apply_details(from->details[i], ports, &n_ports, of, arena, why);
    if (!err && n_ports > MODEL_PORTS_MAX)
        err = codec_refuse(why, "%s: %zu ports (at most %d)", of, n_ports, MODEL_PORTS_MAX);
    if (err)
        return err;
    *out_ports = ports;
    *out_n = n_ports;
    return 0;
}
