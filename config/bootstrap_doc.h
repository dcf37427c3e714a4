/*
 * bootstrap_doc.h - a configuration out of a YAML document that was read already; inside the room.
 *
 * The configuration is filled as far as it can be, errors or not; the caller asks the diag and
 * calls bootstrap_fini_*() either way.
 */
#ifndef ISTHMUS_CONFIG_BOOTSTRAP_DOC_H
#define ISTHMUS_CONFIG_BOOTSTRAP_DOC_H

#include "config/bootstrap.h"
#include "config/yaml.h"

enum bootstrap_kind { BOOTSTRAP_NONE, BOOTSTRAP_PROXY, BOOTSTRAP_CONTROL };

/* By the kind of the document, if its apiVersion is in our group. */
enum bootstrap_kind bootstrap_kind_of(const struct yaml *doc);

void bootstrap_doc_proxy(const struct yaml *doc, struct proxy_config *config, struct diag *diag);
void bootstrap_doc_control(const struct yaml *doc, struct control_config *config,
                           struct diag *diag);

#endif
