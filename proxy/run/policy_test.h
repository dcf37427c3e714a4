/*
 * policy_test.h - `isthmus check --policy-test`: a table of expected verdicts, asked offline.
 *
 * The manifests take the way that they take in a cluster: the control room's registry makes
 * resources of them, the node's snapshot compiles those, and the question is the node's. Nothing
 * is asked over the network.
 *
 * Thread: the main one; reads the disk.
 */
#ifndef ISTHMUS_RUN_POLICY_TEST_H
#define ISTHMUS_RUN_POLICY_TEST_H

#include "proxy/base/text.h"

enum policy_test_outcome {
    POLICY_TEST_AS_EXPECTED = 0,
    POLICY_TEST_MISMATCH = 1,
    POLICY_TEST_BAD_FILE = 2 /* of the table or the manifests; each fault with file:line:column */
};

/* Files and folders of manifests. Appends a line a case, for a mismatch why, and a summary. */
enum policy_test_outcome policy_test_run(const char *table, const char *const *manifests,
                                         size_t n_manifests, struct text *out);

#endif
