/*
 * main.c - the one binary: `isthmus proxy|control|check|ctl`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/secret_memory.h"
#include "config/check.h"
#include "proxy/base/text.h"
#include "proxy/ctl/ctl.h"
#include "proxy/run/control_process.h"
#include "proxy/run/node.h"
#include "proxy/run/policy_test.h"
#include "proxy/run/privileges.h"
#include "proxy/run/version.h"

#define EXIT_USAGE 2

static const char usage[] =
    "isthmus " ISTHMUS_VERSION " - a service mesh across clusters, without sidecars\n"
    "\n"
    "Usage:\n"
    "  isthmus proxy --config FILE      the data plane of one node (DaemonSet, host network)\n"
    "  isthmus control --config FILE    the control process of one cluster\n"
    "  isthmus check FILE|FOLDER...     validates configuration and manifests, offline\n"
    "  isthmus check --policy-test TABLE FILE|FOLDER...\n"
    "                                   asks the policies of the manifests, offline, and compares\n"
    "                                   with a table of expected verdicts\n"
    "  isthmus ctl COMMAND              asks a running process: status, services, endpoints,\n"
    "                                   routes, connections, certs, why ...; drills a failover;\n"
    "                                   verifies audit logs (isthmus ctl --help)\n"
    "  isthmus version\n"
    "\n"
    "FILE is YAML: kind ProxyConfig or ControlConfig of isthmus.io/v1alpha1; config/examples/ has\n"
    "one of each with every key explained. check also reads Kubernetes manifests:\n"
    "Namespace, Node, Pod, Service, EndpointSlice, ServiceExport, ServiceImport,\n"
    "AuthorizationPolicy, PeerAuthentication, RequestAuthentication, HTTPRoute, GRPCRoute,\n"
    "TrafficPolicy.\n"
    "\n"
    "Exit status: 0; 1 when something is wrong (said on standard error); 2 for wrong usage.\n";

static int print(const char *text)
{
    return fputs(text, stdout) < 0 ? 1 : 0;
}

static bool is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* --config FILE, and nothing else. */
static const char *config_path(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[0], "--config") == 0)
        return argv[1];
    if (argc == 1 && strncmp(argv[0], "--config=", 9) == 0)
        return argv[0] + 9;
    (void)fputs("isthmus: expected --config FILE and nothing else; see isthmus --help\n", stderr);
    return NULL;
}

/* Prints what is wrong, if anything is. */
static bool report(struct diag *diag)
{
    struct text out = {0};
    const bool is_clean = diag_is_clean(diag);
    diag_print(diag, &out);
    if (out.len > 0)
        (void)fwrite(out.ptr, 1, out.len, stderr);
    text_fini(&out);
    diag_fini(diag);
    return is_clean;
}

static int run_proxy(int argc, char **argv)
{
    secret_memory_install();
    struct proxy_config config;
    struct diag diag = {0};
    const char *path = config_path(argc, argv);
    if (!path)
        return EXIT_USAGE;
    bootstrap_read_proxy(path, &config, &diag);
    /* Before any thread is started. NOLINTBEGIN(concurrency-mt-unsafe) */
    if (diag_is_clean(&diag))
        bootstrap_use_environment(&config, getenv("SPIFFE_ENDPOINT_SOCKET"),
                                  getenv("SPIFFE_BROKER_SOCKET"), &diag);
    /* NOLINTEND(concurrency-mt-unsafe) */
    if (!report(&diag))
        return 1;
    log_set_level(config.log_level);
    privileges_hide_memory();
    const char *missing = privileges_keep_network();
    int status = 1;
    if (missing && config.capture == CAPTURE_TPROXY)
        (void)fprintf(stderr, "isthmus: capture.mode tproxy needs %s, which this process has not\n",
                      missing);
    else
        status = node_run(&config);
    bootstrap_fini_proxy(&config);
    return status;
}

static int run_control(int argc, char **argv)
{
    secret_memory_install();
    struct control_config config;
    struct diag diag = {0};
    const char *path = config_path(argc, argv);
    if (!path)
        return EXIT_USAGE;
    bootstrap_read_control(path, &config, &diag);
    /* Before any thread is started. NOLINTBEGIN(concurrency-mt-unsafe) */
    if (diag_is_clean(&diag))
        bootstrap_use_pod(&config, getenv("KUBERNETES_SERVICE_HOST"),
                          getenv("KUBERNETES_SERVICE_PORT"), &diag);
    /* NOLINTEND(concurrency-mt-unsafe) */
    if (!report(&diag))
        return 1;
    log_set_level(config.log_level);
    privileges_hide_memory();
    privileges_drop_all();
    const int status = control_process_run(&config);
    bootstrap_fini_control(&config);
    return status;
}

static const char check_usage[] =
    "Usage: isthmus check FILE|FOLDER...\n"
    "       isthmus check --policy-test TABLE FILE|FOLDER...\n"
    "\n"
    "Reads configuration and manifests as the processes would and says what is wrong,\n"
    "each with file:line:column. Exit status 0 when there are no errors, else 1.\n"
    "\n"
    "With --policy-test: asks the policies of the manifests what TABLE (kind PolicyTest,\n"
    "config/examples/policy-test.yaml) expects: a line a case, and for a verdict that is not\n"
    "as expected every rule with what kept it from matching. Exit status 0 when all are as\n"
    "expected, 1 when one is not, 2 when a file is wrong.\n";

static int run_policy_test(int argc, char **argv)
{
    struct text out = {0};
    if (argc < 2) {
        (void)fputs(
            "isthmus: --policy-test wants a TABLE and manifests; see isthmus check --help\n",
            stderr);
        return EXIT_USAGE;
    }
    const enum policy_test_outcome outcome =
        policy_test_run(argv[0], (const char *const *)argv + 1, (size_t)argc - 1, &out);
    (void)fwrite(out.ptr ? out.ptr : "", 1, out.len,
                 outcome == POLICY_TEST_BAD_FILE ? stderr : stdout);
    text_fini(&out);
    return (int)outcome;
}

static int run_check(int argc, char **argv)
{
    struct text out = {0};
    if (argc > 0 && strcmp(argv[0], "--policy-test") == 0)
        return run_policy_test(argc - 1, argv + 1);
    if (argc > 0 && is_help(argv[0]))
        return print(check_usage);
    if (argc > 0 && argv[0][0] == '-') {
        (void)fprintf(stderr, "isthmus: check has no option \"%s\"; see isthmus check --help\n",
                      argv[0]);
        return EXIT_USAGE;
    }
    if (argc == 0) {
        (void)fputs(check_usage, stderr);
        return EXIT_USAGE;
    }
    const bool is_clean = check_files((const char *const *)argv, (size_t)argc, &out);
    (void)fwrite(out.ptr, 1, out.len, is_clean ? stdout : stderr);
    text_fini(&out);
    return is_clean ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    const int rest = argc - 2;
    const bool is_process = strcmp(command, "proxy") == 0 || strcmp(command, "control") == 0;
    if (is_process && rest == 1 && is_help(argv[2]))
        return print(usage);
    if (strcmp(command, "proxy") == 0)
        return run_proxy(rest, argv + 2);
    if (strcmp(command, "control") == 0)
        return run_control(rest, argv + 2);
    if (strcmp(command, "check") == 0)
        return run_check(rest, argv + 2);
    if (strcmp(command, "ctl") == 0)
        return ctl_main(rest, argv + 2);
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0)
        return print("isthmus " ISTHMUS_VERSION "\n");
    if (strcmp(command, "help") == 0 || is_help(command))
        return print(usage);
    if (argc > 1)
        (void)fprintf(stderr, "isthmus: there is no command \"%s\"; see isthmus --help\n", command);
    else
        (void)fputs(usage, stderr);
    return EXIT_USAGE;
}
