#include "peering.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/ca.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/mem.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/loopback.h"

static void write_file(const char *dir, const char *name, struct str content)
{
    struct text path = {0};
    text_addf(&path, "%s/%s", dir, name);
    cr_assert_eq(file_write_atomic(text_str(&path), content, 0600), 0, "%s", path.ptr);
    text_fini(&path);
}

static struct str in_dir(struct side *side, const char *name)
{
    return arena_printf(&side->cluster.arena, "%s/%s", side->cluster.dir.path, name);
}

static void make_dir(struct str path)
{
    cr_assert_eq(mkdir(path.ptr, 0700), 0);
}

/* Each side has an address of its own, so a port that was free stays free until it is used. */
static struct addr free_addr(void)
{
    static unsigned n_given;
    struct addr addr = {.ip = loopback_own(n_given++)};
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    addr_from_sockaddr((struct sockaddr *)&sa, &addr);
    close(fd);
    return addr;
}

static void make_ca(struct side *side)
{
    struct ca *ca = NULL;
    struct text why = {0};
    cr_assert_eq(
        ca_open(side->cluster.config.state_dir, side->cluster.config.trust_domain, &ca, &why), 0,
        "%s", why.ptr);
    ca_close(ca);
}

void side_init(struct side *side, struct loop *loop, const char *name)
{
    struct control_config *config = &side->cluster.config;
    *side = (struct side){.loop = loop, .meter = meter_new()};
    cluster_init(&side->cluster);
    config->cluster = str_from(name);
    config->trust_domain = arena_printf(&side->cluster.arena, "%s.example", name);
    config->state_dir = in_dir(side, "state");
    config->manifests_dir = in_dir(side, "manifests");
    config->tokens_dir = in_dir(side, "tokens");
    config->listen = free_addr();
    config->workload_ttl_ns = 3600 * NS_PER_SEC;
    config->peer_lease_ns = 30 * NS_PER_SEC;
    config->peers = side->peers;
    snprintf(side->manifests_dir, sizeof(side->manifests_dir), "%s", config->manifests_dir.ptr);
    snprintf(side->roots_path, sizeof(side->roots_path), "%s/state/ca/root.pem",
             side->cluster.dir.path);
    make_dir(config->state_dir);
    make_dir(config->manifests_dir);
    make_dir(config->tokens_dir);
    write_file(config->tokens_dir.ptr, "n1", STR(SIDE_TOKEN "\n"));
    make_ca(side);
    cluster_namespace(&side->cluster, "shop", "");
    cluster_node(&side->cluster, "n1");
}

void side_fini(struct side *side)
{
    cr_assert_null(side->control);
    meter_free(side->meter);
    cluster_fini(&side->cluster);
}

void side_copy_roots(struct side *from, struct side *to)
{
    struct text roots = {0}, name = {0};
    text_addf(&name, "%s.pem", from->cluster.config.cluster.ptr);
    cr_assert_eq(file_read_all(str_from(from->roots_path), 65536, &roots), 0);
    write_file(to->cluster.dir.path, name.ptr, text_str(&roots));
    text_fini(&roots);
    text_fini(&name);
}

void side_knows(struct side *side, struct side *other)
{
    struct control_config *config = &side->cluster.config;
    struct text name = {0}, host = {0};
    char buf[IP_TEXT_MAX];
    text_addf(&name, "%s.pem", other->cluster.config.cluster.ptr);
    text_addf(&host, "%s", ip_text(&other->cluster.config.listen.ip, buf));
    side->peers[config->n_peers++] = (struct peer_config){
        .name = other->cluster.config.cluster,
        .address = {arena_str(&side->cluster.arena, text_str(&host)),
                    other->cluster.config.listen.port},
        .trust_domain = other->cluster.config.trust_domain,
        .trust_bundle = in_dir(side, name.ptr),
    };
    side_copy_roots(other, side);
    text_fini(&name);
    text_fini(&host);
}

void side_publish(struct side *side)
{
    cluster_write(&side->cluster, side->manifests_dir);
}

void side_start(struct side *side)
{
    struct text why = {0};
    side_publish(side);
    cr_assert_eq(control_open(side->loop, &side->cluster.config, side->meter, &side->control, &why),
                 0, "%s", why.ptr);
    cr_assert(control_is_ready(side->control, &why));
    text_fini(&why);
}

void side_start_badly(struct side *side, struct text *why)
{
    cr_assert_lt(control_open(side->loop, &side->cluster.config, side->meter, &side->control, why),
                 0);
    cr_assert_null(side->control);
}

void side_stop(struct side *side)
{
    control_close(side->control);
    side->control = NULL;
    run_turns(side->loop, 3);
}

void side_lose_ca(struct side *side)
{
    cr_assert_eq(file_remove(in_dir(side, "state/ca/root.key")), 0);
    cr_assert_eq(file_remove(in_dir(side, "state/ca/root.pem")), 0);
    make_ca(side);
}

static EVP_PKEY *read_key(struct side *side)
{
    FILE *file = fopen(in_dir(side, "state/ca/root.key").ptr, "r");
    cr_assert_not_null(file);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    cr_assert_not_null(key);
    return key;
}

static struct test_ca *read_ca(struct side *side)
{
    FILE *file = fopen(side->roots_path, "r");
    struct test_ca *ca = mem_new(struct test_ca);
    cr_assert_not_null(file);
    ca->cert = PEM_read_X509(file, NULL, NULL, NULL);
    ca->key = read_key(side);
    fclose(file);
    cr_assert_not_null(ca->cert);
    return ca;
}

struct test_ca *side_give_intermediate(struct side *side)
{
    struct test_ca *root = read_ca(side);
    struct test_cert spec = {.is_ca = true, .subject = "intermediate"};
    struct test_ca *middle = test_ca_under(root, &spec);
    struct text pem = {0};
    test_ca_pem(middle, &pem);
    write_file(side->cluster.dir.path, "state/ca/intermediate.pem", text_str(&pem));
    FILE *file = fopen(in_dir(side, "state/ca/intermediate.key").ptr, "w");
    cr_assert_not_null(file);
    cr_assert_eq(PEM_write_PKCS8PrivateKey(file, middle->key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    test_ca_free(root);
    text_fini(&pem);
    return middle;
}

void side_revokes(struct side *side, struct side *of, X509 *cert)
{
    struct control_config *config = &side->cluster.config;
    const struct str trust_domain = of->cluster.config.trust_domain;
    struct test_ca *ca = read_ca(of);
    const struct test_crl spec = {.revoked = &cert, .n_revoked = cert ? 1 : 0};
    struct str name = arena_printf(&side->cluster.arena, "%s.crl", trust_domain.ptr);
    struct text pem = {0};
    test_crl_pem(ca, &spec, &pem);
    write_file(side->cluster.dir.path, name.ptr, text_str(&pem));
    if (!side->control) {
        config->trust_bundles = side->lists;
        side->lists[config->n_trust_bundles++] = (struct trust_bundle_config){
            .trust_domain = trust_domain, .crls = in_dir(side, name.ptr)};
    }
    test_ca_free(ca);
    text_fini(&pem);
}

void side_has_many_lists(struct side *side, size_t n_lists)
{
    struct test_ca *ca = read_ca(side);
    const struct test_crl spec = {0};
    struct text pem = {0};
    side_revokes(side, side, NULL);
    for (size_t i = 0; i < n_lists; i++)
        test_crl_pem(ca, &spec, &pem);
    write_file(
        side->cluster.dir.path,
        arena_printf(&side->cluster.arena, "%.*s.crl", STR_ARG(side->cluster.config.trust_domain))
            .ptr,
        text_str(&pem));
    test_ca_free(ca);
    text_fini(&pem);
}

void side_was_told_many_roots(struct side *side, struct side *other, size_t n_roots)
{
    struct test_ca *own = read_ca(other);
    struct text file = {0}, configured = {0};
    test_ca_pem(own, &configured);
    text_addf(&file, "# configured file: %016" PRIx64 "\n", str_hash(text_str(&configured), 0));
    text_add(&file, text_str(&configured));
    for (size_t i = 1; i < n_roots; i++) {
        struct test_ca *another = test_ca_new(other->cluster.config.trust_domain.ptr);
        test_ca_pem(another, &file);
        test_ca_free(another);
    }
    (void)mkdir(in_dir(side, "state/bundles").ptr, 0700);
    write_file(side->cluster.dir.path,
               arena_printf(&side->cluster.arena, "state/bundles/%.*s.pem",
                            STR_ARG(other->cluster.config.cluster))
                   .ptr,
               text_str(&file));
    test_ca_free(own);
    text_fini(&file);
    text_fini(&configured);
}

static bool json_has(const struct side *side,
                     void (*write)(const struct control *control, struct text *out),
                     const char *word)
{
    struct text json = {0};
    write(side->control, &json);
    const bool has = str_contains(text_str(&json), str_from(word));
    text_fini(&json);
    return has;
}

bool side_status_has(const struct side *side, const char *word)
{
    return json_has(side, control_status_json, word);
}

bool side_services_have(const struct side *side, const char *word)
{
    return json_has(side, control_services_json, word);
}

void side_endpoints_json(const struct control *control, struct text *out)
{
    control_endpoints_json(control, &(struct control_page){.limit = 1000}, out);
}

bool side_endpoints_have(const struct side *side, const char *word)
{
    return json_has(side, side_endpoints_json, word);
}

/* ---- the node ---- */

static struct tls_identity *own_identity(void *owner)
{
    return ((struct guest *)owner)->identity;
}

static void on_up(void *owner, struct h2 *h2)
{
    struct guest *guest = owner;
    ca_client_set_h2(guest->ca_client, h2, guest->identity == NULL);
    if (guest->identity)
        xds_client_channel_up(guest->client, h2);
    rotation_retry_now(guest->rotation);
}

static void on_down(void *owner, int err, struct str why)
{
    struct guest *guest = owner;
    (void)err;
    (void)why;
    guest->n_downs++;
    ca_client_set_h2(guest->ca_client, NULL, false);
    xds_client_channel_down(guest->client);
}

static void on_change(void *owner)
{
    (void)owner;
}

static void on_connected(void *owner, bool is_up)
{
    ((struct guest *)owner)->is_connected = is_up;
}

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    struct guest *guest = owner;
    if (!svid)
        return;
    guest->n_svids++;
    if (!str_eq(id, str_from(guest->id)))
        return;
    if (guest->identity)
        tls_identity_unref(guest->identity);
    cr_assert_eq(tls_identity_new(svid, &guest->identity), 0);
    channel_redial(guest->channel);
}

static void on_failed(void *owner, struct str id, struct str why)
{
    struct guest *guest = owner;
    (void)id;
    guest->n_failed++;
    snprintf(guest->last_failure, sizeof(guest->last_failure), "%.*s", STR_ARG(why));
}

static const struct channel_events channel_events = {on_up, on_down};
static const struct xds_client_events client_events = {on_change, on_connected};
static const struct rotation_events rotation_events = {on_svid, on_failed};

static void trust_side(struct guest *guest)
{
    struct text roots = {0}, why = {0};
    struct trust *none = trust_new();
    cr_assert_eq(file_read_all(str_from(guest->side->roots_path), 65536, &roots), 0);
    cr_assert_eq(trust_with(none, guest->side->cluster.config.trust_domain, text_str(&roots),
                            &guest->trust, &why),
                 0, "%s", why.ptr);
    guest->trust_now = guest->trust;
    trust_unref(none);
    text_fini(&roots);
}

void guest_open(struct guest *guest, struct side *side, const char *node, const char *token)
{
    struct addr addr = control_addr(side->control);
    char buf[IP_TEXT_MAX];
    *guest = (struct guest){.side = side};
    guest->id =
        spiffe_for_node(&guest->arena, side->cluster.config.trust_domain, str_from(node)).ptr;
    trust_side(guest);
    write_file(side->cluster.dir.path, "guest-token", str_from(token));
    const struct channel_options channel = {
        .server = {str_from(ip_text(&addr.ip, buf)), addr.port},
        .trust = &guest->trust_now,
        .expected_id = spiffe_for_control(&guest->arena, side->cluster.config.trust_domain),
        .identity = own_identity,
    };
    const struct xds_client_options client = {
        .node_id = str_from(node),
        .cluster = side->cluster.config.cluster,
        .subscribed = {true, true, true},
    };
    guest->client = xds_client_open(side->loop, &client, NULL, &client_events, guest);
    guest->ca_client =
        ca_client_new(side->loop, side->cluster.config.cluster, in_dir(side, "guest-token"));
    guest->rotation =
        rotation_new(side->loop, ca_client_source(guest->ca_client), &rotation_events, guest);
    rotation_want(guest->rotation, str_from(guest->id));
    guest->channel = channel_open(side->loop, &channel, &channel_events, guest);
}

void guest_close(struct guest *guest)
{
    xds_client_close(guest->client);
    rotation_free(guest->rotation);
    ca_client_free(guest->ca_client);
    channel_close(guest->channel);
    if (guest->identity)
        tls_identity_unref(guest->identity);
    run_turns(guest->side->loop, 2);
    trust_unref(guest->trust);
    arena_fini(&guest->arena);
}

const struct model_resource *guest_find(const struct guest *guest, const char *name)
{
    const struct delta_resource *resource;
    for (size_t idx = 0; (resource = delta_client_next(xds_client_state(guest->client), &idx));)
        if (str_eq(resource->name, str_from(name)))
            return &resource->model;
    return NULL;
}
