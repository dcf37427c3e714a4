#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/bootstrap.h"
#include "fixture.h"
#include "proxy/base/clock.h"
#include "tests/kit/expect_str.h"

#define PROXY                                                                                      \
    "apiVersion: isthmus.io/v1alpha1\nkind: ProxyConfig\nnode: n1\ncluster: west\n"                \
    "trustDomain: west.example\nstateDir: state\n"                                                 \
    "control: {address: \"10.0.0.1:15012\", trustBundle: r.pem, tokenFile: /t}\n"
#define CONTROL                                                                                    \
    "apiVersion: isthmus.io/v1alpha1\nkind: ControlConfig\ncluster: west\n"                        \
    "trustDomain: west.example\nmanifests: m\nstateDir: s\ntokensDir: t\n"
#define RANGES "clusterSetIPs: [10.201.0.0/16]\n"

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

TestSuite(bootstrap, .init = begin, .fini = end, .timeout = 20);

static bool read_proxy(const char *text, struct proxy_config *config)
{
    bootstrap_read_proxy(folder_write(&folder, "c.yaml", text), config, &diag);
    return diag_is_clean(&diag);
}

static bool read_control(const char *text, struct control_config *config)
{
    bootstrap_read_control(folder_write(&folder, "c.yaml", text), config, &diag);
    return diag_is_clean(&diag);
}

Test(bootstrap, the_proxy_example_is_valid_and_says_the_defaults)
{
    struct proxy_config example = {0}, plain = {0};
    bootstrap_read_proxy(EXAMPLES "/proxy.yaml", &example, &diag);
    cr_assert(diag_is_clean(&diag), "%s", said(&diag));
    cr_assert(read_proxy(PROXY, &plain), "%s", said(&diag));
    cr_expect_eq(memcmp(&example.ports, &plain.ports, sizeof(plain.ports)), 0);
    cr_expect_eq(example.capture, plain.capture);
    cr_expect_eq(example.capture_on_exit, plain.capture_on_exit);
    cr_expect_eq(example.mark, plain.mark);
    cr_expect_eq(example.route_table, plain.route_table);
    cr_expect_eq(example.workers, plain.workers);
    cr_expect_eq(example.handshake_ns, plain.handshake_ns);
    cr_expect_eq(example.connect_ns, plain.connect_ns);
    cr_expect_eq(example.attempt_ns, plain.attempt_ns);
    cr_expect_eq(example.idle_ns, plain.idle_ns);
    cr_expect_eq(example.half_close_ns, plain.half_close_ns);
    cr_expect_eq(example.splice_after_bytes, plain.splice_after_bytes);
    cr_expect_eq(example.same_node, SAME_NODE_DIRECT);
    cr_expect_eq(plain.same_node, SAME_NODE_DIRECT);
    cr_expect_eq(example.drain_ns, plain.drain_ns);
    cr_expect_eq(example.max_connections, plain.max_connections);
    cr_expect_eq(example.max_connect_attempts, plain.max_connect_attempts);
    cr_expect_eq(example.max_memory_bytes, plain.max_memory_bytes);
    cr_expect_eq(example.max_lag_ns, plain.max_lag_ns);
    cr_expect_eq(example.log_level, plain.log_level);
    cr_expect_eq(example.log_access, plain.log_access);
    cr_expect(example.cut_on_removal && plain.cut_on_removal);
    expect_str(example.audit.file, "/var/lib/isthmus/audit/audit.log");
    cr_expect_eq(example.audit.max_bytes, plain.audit.max_bytes);
    cr_expect_eq(example.audit.keep, plain.audit.keep);
    cr_expect_eq(example.audit.fsync, plain.audit.fsync);
    cr_expect(plain.audit.verdicts && plain.audit.ends);
    cr_expect(example.audit.verdicts && example.audit.ends);
    cr_expect(str_eq(example.cluster_domain, plain.cluster_domain));
    cr_expect_eq(plain.ports.tunnel, 15008);
    cr_expect_eq(plain.attempt_ns, 400 * NS_PER_MS);
    cr_expect_eq(plain.half_close_ns, 300 * NS_PER_SEC);
    cr_expect_eq(plain.splice_after_bytes, 1048576);
    bootstrap_fini_proxy(&example);
    bootstrap_fini_proxy(&plain);
}

Test(bootstrap, the_control_example_is_valid_and_says_the_defaults)
{
    struct control_config example = {0}, plain = {0};
    bootstrap_read_control(EXAMPLES "/control.yaml", &example, &diag);
    cr_assert(diag_is_clean(&diag), "%s", said(&diag));
    cr_assert(read_control(CONTROL RANGES, &plain), "%s", said(&diag));
    cr_expect_eq(example.n_peers, 1);
    expect_str(example.peers[0].name, "east");
    expect_str(example.peers[0].address.host, "10.2.0.10");
    cr_expect_eq(example.peers[0].address.port, 15012);
    expect_str(example.peers[0].trust_bundle, "/etc/isthmus/east.pem");
    cr_expect_eq(example.n_ranges, 2);
    cr_expect_eq(example.ranges[1].prefix_len, 112);
    cr_expect(addr_eq(&example.listen, &plain.listen));
    cr_expect_eq(plain.listen.port, 15012);
    cr_expect_eq(plain.listen.ip.len, 16);
    cr_expect_eq(example.workload_ttl_ns, plain.workload_ttl_ns);
    cr_expect_eq(example.peer_lease_ns, plain.peer_lease_ns);
    cr_expect_eq(plain.peer_lease_ns, 30 * NS_PER_SEC);
    cr_expect_eq(memcmp(&example.ports, &plain.ports, sizeof(plain.ports)), 0);
    cr_expect(str_eq(example.root_namespace, plain.root_namespace));
    expect_str(plain.root_namespace, "isthmus-system");
    cr_expect_eq(plain.n_peers, 0);
    bootstrap_fini_control(&example);
    bootstrap_fini_control(&plain);
}

Test(bootstrap, paths_are_relative_to_the_file)
{
    struct proxy_config config = {0};
    char expected[128];
    cr_assert(read_proxy(PROXY, &config), "%s", said(&diag));
    snprintf(expected, sizeof(expected), "%s/state", folder.dir.path);
    expect_str(config.state_dir, expected);
    snprintf(expected, sizeof(expected), "%s/r.pem", folder.dir.path);
    expect_str(config.control_trust_bundle, expected);
    expect_str(config.control_token_file, "/t");
    snprintf(expected, sizeof(expected), "%s/state/audit/audit.log", folder.dir.path);
    expect_str(config.audit.file, expected);
    bootstrap_fini_proxy(&config);
}

Test(bootstrap, the_audit_log_is_read_and_can_be_turned_off)
{
    struct proxy_config config = {0};
    cr_assert(read_proxy(PROXY "audit: {file: /a/b.log, maxBytes: 65536, keep: 1, fsync: always, "
                               "events: [verdicts, requests]}\n",
                         &config),
              "%s", said(&diag));
    expect_str(config.audit.file, "/a/b.log");
    cr_expect_eq(config.audit.max_bytes, 65536);
    cr_expect_eq(config.audit.keep, 1);
    cr_expect_eq(config.audit.fsync, AUDIT_FSYNC_ALWAYS);
    cr_expect(config.audit.verdicts && !config.audit.ends && config.audit.requests);
    bootstrap_fini_proxy(&config);
    cr_assert(read_proxy(PROXY "audit: {file: /a/b.log, events: []}\n", &config), "%s",
              said(&diag));
    expect_str(config.audit.file, "");
    bootstrap_fini_proxy(&config);
}

Test(bootstrap, tracing_is_read_and_is_off_without_its_key)
{
    struct proxy_config config = {0};
    cr_assert(read_proxy(PROXY, &config), "%s", said(&diag));
    cr_expect_eq(config.tracing.collector.port, 0);
    bootstrap_fini_proxy(&config);
    cr_assert(read_proxy(PROXY "tracing: {otlp: \"https://[fd00::1]:4318/v1/traces?a=b\", "
                               "sampling: 0.25, headers: {x-a: b, authorization: Bearer c}}\n",
                         &config),
              "%s", said(&diag));
    expect_str(config.tracing.collector.host, "fd00::1");
    cr_expect_eq(config.tracing.collector.port, 4318);
    expect_str(config.tracing.path, "/v1/traces?a=b");
    cr_expect_not(config.tracing.is_plain);
    cr_expect_eq(config.tracing.sampling_ppm, 2500);
    cr_assert_eq(config.tracing.n_headers, 2);
    expect_str(config.tracing.headers[1].name, "authorization");
    expect_str(config.tracing.headers[1].value, "Bearer c");
    bootstrap_fini_proxy(&config);
    cr_assert(read_proxy(PROXY "tracing: {otlp: \"http://c:4318/v1/traces\"}\n", &config), "%s",
              said(&diag));
    cr_expect(config.tracing.is_plain);
    cr_expect_eq(config.tracing.sampling_ppm, 10000);
    bootstrap_fini_proxy(&config);

    cr_assert(read_proxy(PROXY "tracing: {otlp: \"https://c.example/v1/traces\"}\n", &config), "%s",
              said(&diag));
    cr_expect_eq(config.tracing.collector.port, 443);
    bootstrap_fini_proxy(&config);
}

Test(bootstrap, tracing_that_is_wrong_is_refused_with_its_place)
{
    static const struct {
        const char *tracing, *said;
    } rows[] = {
        {"{sampling: 1}", "tracing.otlp"},
        {"{otlp: \"c:4318/v1/traces\"}",
         "must begin with https:// or http://; expected a URL such as http://"},
        {"{otlp: \"http://c:4318\"}", "needs a path"},
        {"{otlp: \"http://c:4318/\"}", "needs a path"},
        {"{otlp: \"http://c:4318?a=b\"}", "needs a path"},
        {"{otlp: \"http://:4318/v1/traces\"}", "a host or a port that is none"},
        {"{otlp: \"http://c:70000/v1/traces\"}", "a host or a port that is none"},
        {"{otlp: \"http://u:p@c:4318/v1/traces\"}", "user information"},
        {"{otlp: \"http://c:4318/v1/traces#a\"}", "fragment"},
        {"{otlp: \"http://c:4318/v1 traces\"}", "holds a space"},
        {"{otlp: \"http://c:4318/t\", sampling: 101}", "is not a percentage"},
        {"{otlp: \"http://c:4318/t\", sampling: 100.1}", "is not a percentage"},
        {"{otlp: \"http://c:4318/t\", sampling: 0.00001}", "is not a percentage"},
        {"{otlp: \"http://c:4318/t\", sampling: -1}", "is not a percentage"},
        {"{otlp: \"http://c:4318/t\", sampling: 1.}", "is not a percentage"},
        {"{otlp: \"http://c:4318/t\", headers: {X-A: b}}", "lower case"},
        {"{otlp: \"http://c:4318/t\", headers: {host: b}}", "set by the proxy itself"},
        {"{otlp: \"http://c:4318/t\", headers: {x-a: \"b\\nc: d\"}}", "visible ASCII"},
        {"{otlp: \"http://c:4318/t\", headers: [a]}", "tracing.headers"},
        {"{otlp: \"http://c:4318/t\", sample: 1}", "sample"},
    };

    char text[512];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_config config = {0};
        snprintf(text, sizeof text, PROXY "tracing: %s\n", rows[i].tracing);
        cr_expect_not(read_proxy(text, &config), "%s", rows[i].tracing);
        cr_expect(strstr(said(&diag), rows[i].said), "%s: %s", rows[i].tracing, said(&diag));
        cr_expect(strstr(said(&diag), "c.yaml:8:"), "%s: %s", rows[i].tracing, said(&diag));
        diag_fini(&diag);
        diag = (struct diag){0};
    }
}

Test(bootstrap, reads_every_key_of_a_proxy)
{
    struct proxy_config config = {0};
    cr_assert(read_proxy(
                  "apiVersion: isthmus.io/v1alpha1\nkind: ProxyConfig\nnode: n1\n"
                  "cluster: a.b\nnetwork: flat\ntrustDomain: td\nclusterDomain: c.local\n"
                  "workers: 3\nstateDir: /s\n"
                  "control: {address: \"[fd00::1]:99\", trustBundle: /r, tokenFile: /t}\n"
                  "capture: {mode: none, onExit: hold, mark: 7, routeTable: 8}\n"
                  "ports: {outbound: 1, inbound: 2, tunnel: 3, dns: 4, metrics: 5, ready: 6,"
                  " admin: 7}\n"
                  "timeouts: {handshake: 1s, connect: 2s, attempt: 3s, idle: 4s,"
                  " halfClose: 5s, drain: 6s}\n"
                  "limits: {connections: 10, connectAttempts: 2, memoryBytes: 900, loopLag: 30ms}\n"
                  "log: {level: debug, access: false}\n",
                  &config),
              "%s", said(&diag));
    expect_str(config.control.host, "fd00::1");
    expect_str(config.network, "flat");
    expect_str(config.cluster_domain, "c.local");
    cr_expect_eq(config.control.port, 99);
    cr_expect_eq(config.workers, 3);
    cr_expect_eq(config.capture, CAPTURE_NONE);
    cr_expect_eq(config.capture_on_exit, CAPTURE_EXIT_HOLD);
    cr_expect_eq(config.mark, 7);
    cr_expect_eq(config.route_table, 8);
    cr_expect_eq(config.ports.outbound, 1);
    cr_expect_eq(config.ports.inbound, 2);
    cr_expect_eq(config.ports.dns, 4);
    cr_expect_eq(config.ports.admin, 7);
    cr_expect_eq(config.handshake_ns, 1 * NS_PER_SEC);
    cr_expect_eq(config.connect_ns, 2 * NS_PER_SEC);
    cr_expect_eq(config.idle_ns, 4 * NS_PER_SEC);
    cr_expect_eq(config.drain_ns, 6 * NS_PER_SEC);
    cr_expect_eq(config.max_connections, 10);
    cr_expect_eq(config.max_connect_attempts, 2);
    cr_expect_eq(config.max_memory_bytes, 900);
    cr_expect_eq(config.max_lag_ns, 30000000);
    cr_expect_eq(config.log_level, LOG_DEBUG);
    cr_expect_not(config.log_access);
    bootstrap_fini_proxy(&config);
}

struct row {
    const char *name, *text, *said;
};

Test(bootstrap, refuses_wrong_proxy_files_and_leaves_the_out_alone)
{
    static const struct row rows[] = {
        {"unknown key", PROXY "worker: 3\n",
         "c.yaml:8:1: error: worker: there is no such key; did you mean \"workers\"?"},
        {"unknown key below", PROXY "timeouts: {conect: 1s}\n",
         "c.yaml:8:12: error: timeouts.conect: there is no such key; did you mean \"connect\"?"},
        {"missing", "apiVersion: isthmus.io/v1alpha1\nkind: ProxyConfig\n",
         "error: node: is required"},
        {"missing below", "kind: ProxyConfig\ncontrol: {address: \"a:1\"}\n",
         "c.yaml:2:10: error: control.trustBundle: is required"},
        {"no control", "kind: ProxyConfig\n", "error: control: is required"},
        {"version", "apiVersion: isthmus.io/v2\nkind: ProxyConfig\n",
         "c.yaml:1:13: error: apiVersion: \"isthmus.io/v2\" is not isthmus.io/v1alpha1"},
        {"kind", "kind: ControlConfig\n", "error: kind: \"ControlConfig\" is not ProxyConfig"},
        {"no document", "# nothing\n", "error: the file has no document"},
        {"two documents", PROXY "---\n" PROXY, "c.yaml:9:1: error: the file has a second document"},
        {"empty file", "", "error: the file is empty"},
        {"node", "kind: ProxyConfig\nnode: N_1\n",
         "c.yaml:2:7: error: node: \"N_1\" is not a node"},
        {"trust domain", "kind: ProxyConfig\ntrustDomain: West.Example\n",
         "c.yaml:2:14: error: trustDomain: \"West.Example\" is not a trust domain"},
        {"address", "kind: ProxyConfig\ncontrol: {address: 10.0.0.1}\n",
         "c.yaml:2:20: error: control.address: \"10.0.0.1\" is not host:port"},
        {"address range", "kind: ProxyConfig\ncontrol: {address: \"10.0.0.300:1\"}\n",
         "\"10.0.0.300:1\" is not host:port"},
        {"port", PROXY "ports: {dns: 70000}\n",
         "c.yaml:8:14: error: ports.dns: \"70000\" is not a whole number from 1 to 65535"},
        {"port zero", PROXY "ports: {metrics: 0}\n", "ports.metrics: \"0\" is not"},
        {"port twice", PROXY "ports: {dns: 15001}\n",
         "c.yaml:8:14: error: ports.dns: port 15001 is the port of ports.outbound already"},
        {"mode", PROXY "capture: {mode: iptables}\n",
         "c.yaml:8:17: error: capture.mode: \"iptables\" is not one of none, tproxy"},
        {"a tunnel that cannot come back",
         PROXY "capture: {mode: none}\ndataPath: {sameNode: tunnel}\n",
         "c.yaml:9:22: error: dataPath.sameNode: tunnel needs capture.mode: tproxy"},
        {"way", PROXY "dataPath: {sameNode: tunnelled}\n",
         "dataPath.sameNode: \"tunnelled\" is not one of direct, tunnel"},
        {"system table", PROXY "capture: {routeTable: 254}\n",
         "c.yaml:8:23: error: capture.routeTable: 254 is a table of the system"},
        {"mark", PROXY "capture: {mark: 0}\n", "capture.mark: \"0\" is not a whole number from 1"},
        {"duration", PROXY "timeouts: {idle: 10}\n",
         "c.yaml:8:18: error: timeouts.idle: \"10\" is not a duration such as"},
        {"log level", PROXY "log: {level: loud}\n",
         "log.level: \"loud\" is not one of error, warn"},
        {"access", PROXY "log: {access: \"true\"}\n", "log.access: \"true\" is not true or false"},
        {"not a mapping", PROXY "limits: [1]\n", "limits: expected a mapping, found a list"},
        {"audit key", PROXY "audit: {maxByte: 1}\n",
         "c.yaml:8:9: error: audit.maxByte: there is no such key; did you mean \"maxBytes\"?"},
        {"audit folder", PROXY "audit: {file: /a/b/}\n",
         "c.yaml:8:15: error: audit.file: \"/a/b/\" is a folder"},
        {"audit size", PROXY "audit: {maxBytes: 100}\n",
         "c.yaml:8:19: error: audit.maxBytes: \"100\" is not a whole number from 65536"},
        {"audit keep", PROXY "audit: {keep: 0}\n",
         "audit.keep: \"0\" is not a whole number from 1"},
        {"audit fsync", PROXY "audit: {fsync: often}\n",
         "c.yaml:8:16: error: audit.fsync: \"often\" is not one of never, second, always"},
        {"audit event", PROXY "audit: {events: [ends, starts]}\n",
         "c.yaml:8:24: error: audit.events: \"starts\" is not one of verdicts, ends, requests"},
        {"audit events", PROXY "audit: {events: ends}\n",
         "c.yaml:8:17: error: audit.events: \"ends\" is not a list"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct proxy_config config = {.workers = 77};
        diag = (struct diag){0};
        cr_expect_not(read_proxy(rows[i].text, &config), "%s", rows[i].name);
        expect_said(&diag, rows[i].name, rows[i].said);
        cr_expect_eq(config.workers, 77, "%s", rows[i].name);
        diag_fini(&diag);
    }
}

#define PEER(name) "  - {name: " name ", address: \"p:1\", trustDomain: td, trustBundle: b}\n"

Test(bootstrap, refuses_wrong_control_files)
{
    static const struct row rows[] = {
        {"no ranges", CONTROL, "error: clusterSetIPs: is required"},
        {"empty ranges", CONTROL "clusterSetIPs: []\n", "clusterSetIPs: is empty"},
        {"one family twice", CONTROL "clusterSetIPs: [10.201.0.0/16, 10.202.0.0/16]\n",
         "c.yaml:8:32: error: clusterSetIPs[1]: \"10.202.0.0/16\" is a second range of IPv4"},
        {"host bits", CONTROL "clusterSetIPs: [10.201.0.1/16]\n",
         "c.yaml:8:17: error: clusterSetIPs[0]: \"10.201.0.1/16\" has bits set behind its length"},
        {"no range", CONTROL "clusterSetIPs: [west]\n",
         "clusterSetIPs[0]: \"west\" is not a range"},
        {"range too small", CONTROL "clusterSetIPs: [10.201.0.0/31]\n", "holds too few addresses"},
        {"listen", CONTROL RANGES "listen: 15012\n", "listen: \"15012\" is not address:port"},
        {"listen port 0", CONTROL RANGES "listen: 0.0.0.0:0\n", "listen: \"0.0.0.0:0\" is not"},
        {"peer twice", CONTROL RANGES "peers:\n" PEER("east") PEER("south") PEER("east"),
         "c.yaml:12:12: error: peers[2].name: \"east\" is there twice, first at 10:12"},
        {"peer is us", CONTROL RANGES "peers:\n" PEER("west"),
         "c.yaml:10:12: error: peers[0].name: \"west\" is this cluster itself"},
        {"peer key", CONTROL RANGES "peers: [{nmae: x}]\n",
         "peers[0].nmae: there is no such key; did you mean \"name\"?"},
        {"peer incomplete", CONTROL RANGES "peers: [{name: east}]\n",
         "error: peers[0].address: is required"},
        {"peer empty", CONTROL RANGES "peers:\n  -\n", "peers[0]: expected a mapping"},
        {"port of listen", CONTROL RANGES "ports: {admin: 15012}\n",
         "ports.admin: port 15012 is the port of listen already"},
        {"cluster", "kind: ControlConfig\ncluster: West\n",
         "cluster: \"West\" is not a cluster's name"},
        {"alias", CONTROL RANGES "trustDomainAliases: [Old]\n",
         "trustDomainAliases[0]: \"Old\" is not a trust domain"},
        {"alias twice", CONTROL RANGES "trustDomainAliases: [a.example, a.example]\n",
         "trustDomainAliases[1]: \"a.example\" is there twice"},
        {"alias of a peer",
         CONTROL RANGES "trustDomainAliases: [e.example]\npeers: [{name: e, address: 10.0.0.1:1, "
                        "trustDomain: e.example, trustBundle: e.pem}]\n",
         "trustDomainAliases[0]: \"e.example\" is a peer's trust domain"},
        {"root namespace", CONTROL RANGES "rootNamespace: a.b\n", "rootNamespace: \"a.b\" is not"},
        {"lease", CONTROL RANGES "peerLease: 0s\n", "peerLease: \"0s\" is not a duration from 1s"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct control_config config = {.n_peers = 77};
        diag = (struct diag){0};
        cr_expect_not(read_control(rows[i].text, &config), "%s", rows[i].name);
        expect_said(&diag, rows[i].name, rows[i].said);
        cr_expect_eq(config.n_peers, 77, "%s", rows[i].name);
        diag_fini(&diag);
    }
}

Test(bootstrap, says_that_a_file_is_not_there)
{
    struct proxy_config config = {0};
    bootstrap_read_proxy("/nonexistent/proxy.yaml", &config, &diag);
    expect_said(&diag, "absent", "/nonexistent/proxy.yaml: error: cannot be opened: No such file");
}

Test(bootstrap, tells_all_errors_at_once)
{
    struct proxy_config config = {0};
    cr_expect_not(read_proxy(PROXY "workers: x\nlog: {level: y}\nfoo: 1\n", &config));
    cr_expect_eq(diag.n_errors, 3, "%s", said(&diag));
}

Test(bootstrap, reads_on_when_the_diag_had_errors_before)
{
    struct proxy_config config = {0};
    diag_error(&diag, (struct place){0}, "something else");
    (void)read_proxy(PROXY, &config);
    cr_expect_eq(diag.n_errors, 1, "%s", said(&diag));
    expect_str(config.node, "n1");
    bootstrap_fini_proxy(&config);
}

/* ---- identity and trustBundles ---- */

#define PROXY_HEAD                                                                                 \
    "apiVersion: isthmus.io/v1alpha1\nkind: ProxyConfig\nnode: n\ncluster: c\ntrustDomain: td\n"   \
    "stateDir: /s\n"
#define CONTROL_HEAD                                                                               \
    "apiVersion: isthmus.io/v1alpha1\nkind: ControlConfig\ncluster: c\ntrustDomain: td\n"          \
    "manifests: /m\nstateDir: /s\ntokensDir: /t\nclusterSetIPs: [10.1.0.0/16]\n"
#define BUNDLE(rest) CONTROL_HEAD "trustBundles:\n- {trustDomain: p.example, " rest "}\n"

static const struct {
    const char *text;
    bool is_control;
    const char *fault; /* NULL: good */
} identity_rows[] = {
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r}\n", false,
     "control.tokenFile: is required"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r}\n"
                "identity: {node: workloadAPI}\n",
     false, NULL},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "identity: {workloadAPI: \"tcp://host:1\"}\n",
     false, "identity.workloadAPI: \"tcp://host:1\" must have an IP address as its host"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "identity: {node: brokerAPI}\n",
     false, "identity.node: \"brokerAPI\" is not one of control, workloadAPI, files"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "identity: {pods: brokerAPI}\n",
     false, "identity.brokerID: is required"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "identity: {pods: brokerAPI, brokerID: \"spiffe://td\"}\n",
     false, "identity.brokerID: \"spiffe://td\" names a trust domain"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "identity: {pods: files}\n",
     false, "identity.podsDir: is required"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "identity: {node: files, nodeKey: /k}\n",
     false, "identity.nodeCertificate: is required"},
    {PROXY_HEAD "control: {address: \"1.2.3.4:5\", trustBundle: /r, tokenFile: /t}\n"
                "trustBundles: [{trustDomain: p, url: \"https://p/\"}]\n",
     false, "trustBundles[0].url"},
    {BUNDLE("file: /f"), true, NULL},
    {BUNDLE("crls: /c"), true, NULL},
    {BUNDLE("url: \"https://p.example/b\", profile: https_web, crls: /c"), true, NULL},
    {BUNDLE("url: \"https://p.example/b\", profile: https_web"), true, NULL},
    {BUNDLE("url: \"https://p.example/b\", profile: https_spiffe, file: /f, "
            "endpointID: \"spiffe://p.example/e\""),
     true, NULL},
    {BUNDLE("url: \"https://p.example/b\", profile: https_spiffe, "
            "endpointID: \"spiffe://other.example/e\""),
     true, NULL},
    /* F2: url, profile and trust domain are all configured; F5: and the endpoint's ID and roots. */
    {BUNDLE("url: \"https://p.example/b\""), true, "trustBundles[0].profile: is required"},
    {BUNDLE("url: \"https://p.example/b\", profile: http"), true, "is not one of https_web"},
    {BUNDLE("url: \"https://p.example/b\", profile: https_spiffe"), true,
     "trustBundles[0].endpointID: is required"},
    {BUNDLE("url: \"https://p.example/b\", profile: https_spiffe, "
            "endpointID: \"spiffe://p.example/e\""),
     true, "trustBundles[0].file: is required"},
    {BUNDLE("url: \"https://p.example/b\", profile: https_web, "
            "endpointID: \"spiffe://p.example/e\""),
     true, "is for profile https_spiffe"},
    {BUNDLE("profile: https_web, file: /f"), true, "trustBundles[0].url: is required"},
    {CONTROL_HEAD "trustBundles: [{trustDomain: p, file: /f}, {trustDomain: p, file: /g}]\n", true,
     "is there twice"},
    /* F3 */
    {BUNDLE("url: \"http://p.example/b\", profile: https_web"), true, "must begin with https://"},
    {BUNDLE("url: \"https://me:pw@p.example/b\", profile: https_web"), true, "user information"},
    {BUNDLE("url: \"https:///b\", profile: https_web"), true, "has no host"},
    {BUNDLE("url: \"https://p.example:99999/b\", profile: https_web"), true,
     "has a host or a port that is none (ports are 1 to 65535)"},
    {BUNDLE("url: \"https://p.example/b#f\", profile: https_web"), true, "fragment"},
    {BUNDLE("url: \"https://p.example/a b\", profile: https_web"), true, "holds a space"},
};

Test(bootstrap, f2_f3_identity_and_trust_bundles_are_checked_with_their_places)
{
    for (size_t i = 0; i < ARRAY_LEN(identity_rows); i++) {
        struct proxy_config proxy = {0};
        struct control_config control = {0};
        char row[20];
        (void)snprintf(row, sizeof(row), "row %zu", i);
        const bool is_good = identity_rows[i].is_control
                                 ? read_control(identity_rows[i].text, &control)
                                 : read_proxy(identity_rows[i].text, &proxy);
        cr_expect_eq(is_good, identity_rows[i].fault == NULL, "%s: %s", row, said(&diag));
        if (identity_rows[i].fault)
            expect_said(&diag, row, identity_rows[i].fault);
        bootstrap_fini_proxy(&proxy);
        bootstrap_fini_control(&control);
        diag_fini(&diag);
        diag = (struct diag){0};
    }
}

Test(bootstrap, an_endpoint_url_is_taken_apart)
{
    struct arena arena = {0};
    struct trust_bundle_config bundle = {0};
    cr_assert_null(bundle_endpoint_url(STR("https://p.example/a/b?c=d"), &bundle, &arena));
    expect_str(bundle.server.host, "p.example");
    cr_expect_eq(bundle.server.port, 443);
    expect_str(bundle.path, "/a/b?c=d");
    cr_assert_null(bundle_endpoint_url(STR("https://[fd00::1]:8443"), &bundle, &arena));
    expect_str(bundle.server.host, "fd00::1");
    cr_expect_eq(bundle.server.port, 8443);
    expect_str(bundle.path, "/");
    cr_assert_null(bundle_endpoint_url(STR("https://[fd00::1]?x"), &bundle, &arena));
    cr_expect_eq(bundle.server.port, 443);
    expect_str(bundle.path, "/?x");
    arena_fini(&arena);
}

Test(bootstrap, w2_endpoints_that_the_file_leaves_out_come_from_the_environment)
{
    struct proxy_config config = {.identity = {.node = IDENTITY_SPIFFE, .pods = IDENTITY_SPIFFE}};
    bootstrap_use_environment(&config, "unix:///run/api.sock", "tcp://broker:1", &diag);
    cr_assert(diag_is_clean(&diag));
    expect_str(config.identity.workload_api.unix_path, "/run/api.sock");
    expect_str(config.identity.broker_api.tcp.host, "broker");

    bootstrap_use_environment(&config, "unix:///other", "tcp://other:2", &diag);
    cr_assert(diag_is_clean(&diag));
    expect_str(config.identity.workload_api.unix_path, "/run/api.sock"); /* the file wins */

    config.identity.workload_api = (struct spiffe_endpoint){0};
    bootstrap_use_environment(&config, NULL, NULL, &diag);
    cr_assert_eq(diag.n_errors, 1);
    bootstrap_use_environment(&config, "tcp://name:1", NULL, &diag);
    cr_assert_eq(diag.n_errors, 2);
    bootstrap_fini_proxy(&config);
}
