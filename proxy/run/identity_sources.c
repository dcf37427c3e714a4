#include "proxy/run/identity_sources.h"

static uint32_t mark_of(const struct proxy_config *config)
{
    return config->capture == CAPTURE_TPROXY ? config->mark : 0;
}

static struct cert_source *open_node(struct identity_sources *sources, struct loop *loop,
                                     const struct identity_sources_options *options)
{
    const struct proxy_config *config = options->config;
    const struct identity_config *identity = &config->identity;
    switch (identity->node) {
    case IDENTITY_SPIFFE:
        sources->workload_api = workload_api_new(loop, &identity->workload_api, mark_of(config),
                                                 options->on_trust, options->owner);
        return workload_api_source(sources->workload_api);
    case IDENTITY_FILES:
        sources->node_files =
            file_source_pair(loop, identity->node_certificate, identity->node_key);
        return file_source_source(sources->node_files);
    case IDENTITY_CONTROL: break;
    }
    sources->node_ca = ca_client_new(loop, config->cluster, config->control_token_file);
    return ca_client_source(sources->node_ca);
}

static struct cert_source *open_pods(struct identity_sources *sources, struct loop *loop,
                                     const struct identity_sources_options *options)
{
    const struct proxy_config *config = options->config;
    const struct identity_config *identity = &config->identity;
    const struct broker_api_options broker = {
        .endpoint = identity->broker_api,
        .server_id = identity->broker_id,
        .mark = mark_of(config),
        .trust = options->trust,
        .identity = options->node_identity,
        .owner = options->owner,
    };
    switch (identity->pods) {
    case IDENTITY_SPIFFE:
        sources->broker_api = broker_api_new(loop, &broker);
        return broker_api_source(sources->broker_api);
    case IDENTITY_FILES:
        sources->pods_files = file_source_folder(loop, identity->pods_dir);
        return file_source_source(sources->pods_files);
    case IDENTITY_CONTROL: break;
    }
    sources->pods_ca = ca_client_new(loop, config->cluster, config->control_token_file);
    return ca_client_source(sources->pods_ca);
}

void identity_sources_open(struct identity_sources *sources, struct loop *loop,
                           const struct identity_sources_options *options)
{
    *sources = (struct identity_sources){0};
    sources->node = open_node(sources, loop, options);
    sources->pods = open_pods(sources, loop, options);
}

void identity_sources_close(struct identity_sources *sources)
{
    ca_client_free(sources->node_ca);
    ca_client_free(sources->pods_ca);
    workload_api_free(sources->workload_api);
    broker_api_free(sources->broker_api);
    file_source_free(sources->node_files);
    file_source_free(sources->pods_files);
    *sources = (struct identity_sources){0};
}

void identity_sources_set_h2(struct identity_sources *sources, struct h2 *h2, bool is_anonymous)
{
    if (sources->node_ca)
        ca_client_set_h2(sources->node_ca, h2, is_anonymous);
    /* Control signs for pods only what a node asks for under its own certificate. */
    if (sources->pods_ca)
        ca_client_set_h2(sources->pods_ca, is_anonymous ? NULL : h2, false);
}
