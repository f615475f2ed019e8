/* Where the certificates come from that Partner Center signs with, and the whole judgement of a signed request.
 *
 * Two modes. Pinned: the certificates are files of the operator; every one is tried, and no request ever makes a
 * connection go out. Fetching (when nothing is pinned): the certificate is taken from the URL in the request, if that
 * is allowed (certificate_url.h), over https, without redirects, small, quickly, not from private addresses, and not
 * more often than a global rate; good ones are kept for a time, bad ones are remembered for a shorter one. A
 * signature that does not match a kept certificate makes it be fetched once more, since certificates are renewed
 * behind the same URL. In both modes the certificate has to satisfy the rules of signature.h, and the URL has to be
 * an allowed one.
 *
 * Loop thread only. The verdict comes exactly once, from inside the call or later, also when this is freed. */
#ifndef TANDEM_INGEST_CERTIFICATES_H
#define TANDEM_INGEST_CERTIFICATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "ingest/signature.h"

/* The section `ingest.signature`. */
struct certificates_settings {
    char *trusted_roots;                    /* PEM file; NULL: the system's */
    char *intermediates;                    /* PEM file; NULL: none */
    struct config_list pinned_certificates; /* files; any: pinned mode */
    struct config_list certificate_urls;    /* prefixes */
    char *issuer_organization;
    struct config_list subject_names;
    char *download_ca_file; /* for the https connection; NULL: the system's */
    bool allow_private_addresses;
    int64_t certificate_lifetime_ms;
    int64_t failure_lifetime_ms;
    int64_t downloads_per_minute;
};
extern const struct config_key CERTIFICATES_KEYS[];
extern const size_t CERTIFICATES_KEY_COUNT;
/* config_section.validate */
void certificates_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                    struct diagnostics *diagnostics);

struct certificates;

/* Reads the files named in the settings, which are borrowed until certificates_free(). */
int certificates_new(struct loop *loop, const struct certificates_settings *settings,
                     struct certificates **ret_certificates, struct error *err) TANDEM_MUST_CHECK;
void certificates_free(struct certificates *certificates); /* accepts NULL */

/* `offset`: where in the body the signed text begins (SIGNATURE_VALID). `detail`: a literal for logs. */
typedef void (*certificates_callback)(void *arg, enum signature_verdict verdict, const char *detail, size_t offset);
/* The fields and the body are borrowed until the verdict. */
void certificates_judge(struct certificates *certificates, const struct request_field *fields, size_t field_count,
                        const char *body, size_t length, certificates_callback on_verdict, void *arg);

#endif
