/* Where control has its objects from: a folder of manifests, or the API server. */
#include <criterion/criterion.h>

#include "config/bootstrap.h"
#include "fixture.h"
#include "tests/kit/expect_str.h"

#define NO_SOURCE                                                                                  \
    "apiVersion: isthmus.io/v1alpha1\nkind: ControlConfig\ncluster: west\n"                        \
    "trustDomain: west.example\nstateDir: s\ntokensDir: t\nclusterSetIPs: [10.201.0.0/16]\n"

static struct folder folder;
static struct diag diag;

static void begin(void)
{
    folder_begin(&folder);
    diag = (struct diag){0};
}

static void end(void)
{
    diag_fini(&diag);
    folder_end(&folder);
}

TestSuite(bootstrap_source, .init = begin, .fini = end, .timeout = 20);

static bool read_control(const char *text, struct control_config *config)
{
    bootstrap_read_control(folder_write(&folder, "c.yaml", text), config, &diag);
    return diag_is_clean(&diag);
}

Test(bootstrap_source, control_in_a_pod_finds_the_api_server_by_itself)
{
    struct control_config config = {0};
    cr_assert(read_control(NO_SOURCE "kubernetes: {}\n", &config), "%s", said(&diag));
    cr_expect(config.kubernetes.is_used);
    expect_str(config.manifests_dir, "");
    expect_str(config.kubernetes.token_file, KUBERNETES_SERVICE_ACCOUNT "/token");
    expect_str(config.kubernetes.trust_bundle, KUBERNETES_SERVICE_ACCOUNT "/ca.crt");
    bootstrap_use_pod(&config, "fd00::1", "443", &diag);
    cr_assert(diag_is_clean(&diag), "%s", said(&diag));
    expect_str(config.kubernetes.server.host, "fd00::1");
    cr_expect_eq(config.kubernetes.server.port, 443);
    bootstrap_fini_control(&config);
}

Test(bootstrap_source, control_outside_of_a_pod_is_told_where_the_api_server_is)
{
    struct control_config config = {0};
    cr_assert(read_control(NO_SOURCE
                           "kubernetes: {server: \"https://api.example:6443\", tokenFile: "
                           "/token, trustBundle: /ca.pem}\n",
                           &config),
              "%s", said(&diag));
    bootstrap_use_pod(&config, NULL, NULL, &diag);
    cr_assert(diag_is_clean(&diag), "%s", said(&diag));
    expect_str(config.kubernetes.server.host, "api.example");
    cr_expect_eq(config.kubernetes.server.port, 6443);
    expect_str(config.kubernetes.token_file, "/token");
    expect_str(config.kubernetes.trust_bundle, "/ca.pem");
    bootstrap_fini_control(&config);
}

Test(bootstrap_source, objects_come_from_one_place)
{
    static const struct {
        const char *name, *text, *sentence;
    } rows[] = {
        {"none", NO_SOURCE, "c.yaml:1:1: error: manifests: is required, or kubernetes"},
        {"both", NO_SOURCE "manifests: m\nkubernetes: {}\n",
         "c.yaml:9:13: error: kubernetes: cannot stand beside manifests, first at 8:12"},
        {"in clear", NO_SOURCE "kubernetes: {server: \"http://a\"}\n",
         "c.yaml:8:22: error: kubernetes.server: \"http://a\" must begin with https://"},
        {"a path", NO_SOURCE "kubernetes: {server: \"https://a/k\"}\n", "must not have a path"},
        {"a mistake", NO_SOURCE "kubernetes: {tokenfile: /t}\n", "kubernetes.tokenfile"},
        {"no mapping", NO_SOURCE "kubernetes: yes\n",
         "c.yaml:8:13: error: kubernetes: \"yes\" is not a mapping"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct control_config config = {0};
        end();
        begin();
        cr_expect(!read_control(rows[i].text, &config), "%s", rows[i].name);
        expect_said(&diag, rows[i].name, rows[i].sentence);
        bootstrap_fini_control(&config);
    }
}

Test(bootstrap_source, without_a_server_the_environment_of_a_pod_must_name_one)
{
    static const struct {
        const char *name, *host, *port;
    } rows[] = {{"none", NULL, NULL}, {"half", "10.0.0.1", NULL}, {"odd", "10.0.0.1", "port"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct control_config config = {0};
        end();
        begin();
        cr_assert(read_control(NO_SOURCE "kubernetes: {}\n", &config), "%s", said(&diag));
        bootstrap_use_pod(&config, rows[i].host, rows[i].port, &diag);
        cr_expect(!diag_is_clean(&diag), "%s", rows[i].name);
        expect_said(&diag, rows[i].name, "c.yaml:8:13: error: kubernetes.server: ");
        bootstrap_fini_control(&config);
    }
}
