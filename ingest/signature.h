/* Whether a webhook comes from Partner Center: its signature headers, its certificate, its signature over the raw body
 * (Partner Center webhooks, 1.5).
 *
 * The sender names algorithm and certificate in headers, so neither is believed: one algorithm is accepted (rsa-sha256,
 * RSA PKCS#1 v1.5), and a certificate counts only by its chain to roots of ours, its issuer and its names. Knows no URL
 * rules and fetches nothing (certificate_url.h, certificates.h). Pure: time is an argument; roots come from the caller.
 *
 * struct signature borrows from the request. A signing_certificate owns its memory. One thread at a time. Anything not
 * understood, also a lack of memory, ends as "not valid". */
#ifndef TANDEM_INGEST_SIGNATURE_H
#define TANDEM_INGEST_SIGNATURE_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attributes.h"
#include "ingest/request.h"

enum {
    SIGNATURES_TRIED_MAX = 5,    /* of those in one header; further ones are not looked at */
    SIGNATURE_MAX_BYTES = 1024,  /* RSA-8192 */
    SIGNING_KEY_MIN_BITS = 2048, /* of RSA; no other kind is accepted */
    SIGNING_CHAIN_MAX = 8,       /* certificates in one document */
    SIGNING_DOCUMENT_MAX_BYTES = 16 * 1024
};

enum signature_verdict {
    SIGNATURE_VALID,
    SIGNATURE_MISSING,
    SIGNATURE_REPEATED_HEADER,
    SIGNATURE_MALFORMED, /* no base64 of a possible length */
    SIGNATURE_ALGORITHM, /* other than rsa-sha256, or none named */
    SIGNATURE_CERTIFICATE_URL,
    SIGNATURE_CERTIFICATE_MISSING, /* not to be had from its URL */
    SIGNATURE_CERTIFICATE,         /* not acceptable */
    SIGNATURE_MISMATCH
};

/* A stable word for logs and metrics: "mismatch". */
const char *signature_verdict_name(enum signature_verdict verdict);

struct signature {
    const char *certificate_url; /* NULL when the header is absent */
    size_t count;
    struct {
        unsigned char bytes[SIGNATURE_MAX_BYTES];
        size_t length;
    } candidates[SIGNATURES_TRIED_MAX];
};

/* The header forms: `Authorization: Signature <base64>`, else `x-ms-signature: Signature <base64>`. Several signatures,
 * separated by blanks or commas, are candidates: one of them has to be right. Writes *ret_signature only when
 * SIGNATURE_VALID is returned, which here means: well-formed. */
enum signature_verdict signature_read(const struct request_field *fields, size_t count,
                                      struct signature *ret_signature);

struct signing_certificate;

/* DER (exactly one certificate, no byte more) or PEM (the leaf first, then intermediates). NULL when it is neither. */
struct signing_certificate *signing_certificate_read(const char *bytes, size_t count);
void signing_certificate_free(struct signing_certificate *certificate); /* accepts NULL */
TANDEM_DEFINE_AUTO(signing_certificate, struct signing_certificate *, signing_certificate_free)

/* Everything is borrowed. */
struct signing_policy {
    X509_STORE *roots;
    STACK_OF(X509) * intermediates;   /* may be NULL */
    const char *issuer_organization;  /* O of the issuer, exactly */
    const char *const *subject_names; /* CN or DNS name of the certificate, exactly but for ASCII case */
    size_t subject_name_count;        /* 0: any */
};

/* Strict chain to the roots at this time (seconds since 1970), issuer's organisation, subject, RSA of enough bits,
 * allowed to sign. `ret_reason`: a literal, always set. */
bool signing_certificate_is_acceptable(const struct signing_certificate *certificate,
                                       const struct signing_policy *policy, int64_t now_seconds,
                                       const char **ret_reason);

/* Whether one candidate is this certificate's signature of the body. A sender may have signed the text without the byte
 * order mark it sent: *ret_offset is where the signed text begins. */
bool signature_matches(const struct signature *signature, const struct signing_certificate *certificate,
                       const char *body, size_t length, size_t *ret_offset);

#endif
