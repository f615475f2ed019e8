#include "ingest/signature.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/text.h"

static const char byte_order_mark[] = "\xEF\xBB\xBF";
enum { BYTE_ORDER_MARK_LENGTH = 3, CHAIN_DEPTH_MAX = 6, SECURITY_LEVEL = 2 };

struct signing_certificate {
    X509 *leaf;
    STACK_OF(X509) * chain; /* what came with it; may be empty */
};

const char *signature_verdict_name(enum signature_verdict verdict)
{
    switch (verdict) {
    case SIGNATURE_VALID:
        return "valid";
    case SIGNATURE_MISSING:
        return "missing";
    case SIGNATURE_REPEATED_HEADER:
        return "repeated_header";
    case SIGNATURE_MALFORMED:
        return "malformed";
    case SIGNATURE_ALGORITHM:
        return "algorithm";
    case SIGNATURE_CERTIFICATE_URL:
        return "certificate_url";
    case SIGNATURE_CERTIFICATE_MISSING:
        return "certificate_missing";
    case SIGNATURE_CERTIFICATE:
        return "certificate";
    case SIGNATURE_MISMATCH:
        return "mismatch";
    }
    return "unknown";
}

/* --- Headers --- */

static int base64_value(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *place = c == '\0' ? NULL : strchr(alphabet, c);
    return place == NULL ? -1 : (int)(place - alphabet);
}

/* RFC 4648 4: padded, nothing foreign, unused bits zero. 0 when malformed, empty or longer than `size`. */
static size_t base64_decode(const char *text, size_t count, unsigned char *out, size_t size)
{
    size_t length = 0;
    unsigned buffer = 0;
    unsigned bits = 0;

    if (count == 0 || count % 4 != 0)
        return 0;
    size_t padding = text[count - 1] != '=' ? 0 : text[count - 2] != '=' ? 1 : 2;
    for (size_t i = 0; i < count - padding; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            return 0;
        buffer = (buffer << 6 | (unsigned)value) & 0xffffu;
        bits += 6;
        if (bits < 8)
            continue;
        if (length == size)
            return 0;
        bits -= 8;
        out[length++] = (unsigned char)(buffer >> bits & 0xffu);
    }
    return (buffer & ((1u << bits) - 1u)) != 0 ? 0 : length;
}

/* The field's value; *ret_is_repeated is set, never cleared. */
static const char *single_field(const struct request_field *fields, size_t count, const char *name,
                                bool *ret_is_repeated)
{
    const char *value = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!text_equal_ignoring_case(fields[i].name, name))
            continue;
        if (value != NULL)
            *ret_is_repeated = true;
        value = fields[i].value;
    }
    return value;
}

static bool is_scheme(const char *word, size_t length)
{
    static const char scheme[] = "Signature";
    return length == sizeof(scheme) - 1 && strncasecmp(word, scheme, length) == 0;
}

static bool has_scheme(const char *value)
{
    return is_scheme(value, strcspn(value, " \t,"));
}

/* The words after the scheme; one may be preceded by the scheme again. */
static void read_candidates(const char *value, struct signature *signature)
{
    unsigned looked_at = 0;
    while (looked_at < SIGNATURES_TRIED_MAX) {
        value += strspn(value, " \t,");
        size_t length = strcspn(value, " \t,");
        if (length == 0)
            return;
        if (!is_scheme(value, length)) {
            size_t decoded = base64_decode(value, length, signature->candidates[signature->count].bytes,
                                           sizeof(signature->candidates[0].bytes));
            if (decoded > 0)
                signature->candidates[signature->count++].length = decoded;
            looked_at++;
        }
        value += length;
    }
}

enum signature_verdict signature_read(const struct request_field *fields, size_t count, struct signature *ret_signature)
{
    bool is_repeated = false;
    const char *authorization = single_field(fields, count, "authorization", &is_repeated);
    const char *alternate = single_field(fields, count, "x-ms-signature", &is_repeated);
    const char *algorithm = single_field(fields, count, "x-ms-signature-algorithm", &is_repeated);
    const char *url = single_field(fields, count, "x-ms-certificate-url", &is_repeated);

    /* A gateway in between may use Authorization for itself. */
    const char *value = authorization != NULL && has_scheme(authorization) ? authorization : alternate;
    if (value == NULL)
        return SIGNATURE_MISSING;
    if (is_repeated)
        return SIGNATURE_REPEATED_HEADER;
    if (algorithm == NULL || !text_equal_ignoring_case(algorithm, "rsa-sha256"))
        return SIGNATURE_ALGORITHM;
    struct signature signature = {.certificate_url = url};
    if (has_scheme(value))
        read_candidates(value, &signature);
    if (signature.count == 0)
        return SIGNATURE_MALFORMED;
    *ret_signature = signature;
    return SIGNATURE_VALID;
}

/* --- Certificates --- */

/* Keeps OpenSSL from asking for one on a terminal. */
static int no_password(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)arg;
    return -1;
}

static void free_stack(STACK_OF(X509) * stack)
{
    sk_X509_pop_free(stack, X509_free);
}

static X509 *read_der(const char *bytes, size_t count)
{
    const unsigned char *at = (const unsigned char *)bytes;
    const unsigned char *end = at + count;
    X509 *leaf = d2i_X509(NULL, &at, (long)count);
    if (leaf != NULL && at != end) {
        X509_free(leaf);
        leaf = NULL;
    }
    return leaf;
}

/* All of them must be readable; the stack takes what follows the first. */
static X509 *read_pem(const char *bytes, size_t count, STACK_OF(X509) * chain)
{
    BIO *bio = BIO_new_mem_buf(bytes, (int)count);
    X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_password, NULL);
    bool is_good = leaf != NULL;

    while (is_good) {
        X509 *next = PEM_read_bio_X509(bio, NULL, no_password, NULL);
        if (next == NULL) {
            is_good = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            break;
        }
        if (sk_X509_num(chain) >= SIGNING_CHAIN_MAX - 1 || sk_X509_push(chain, next) <= 0) {
            X509_free(next);
            is_good = false;
        }
    }
    BIO_free(bio);
    if (!is_good) {
        X509_free(leaf);
        leaf = NULL;
    }
    return leaf;
}

struct signing_certificate *signing_certificate_read(const char *bytes, size_t count)
{
    enum { DER_SEQUENCE = 0x30 };
    if (count == 0 || count > SIGNING_DOCUMENT_MAX_BYTES)
        return NULL;
    struct signing_certificate *certificate = calloc(1, sizeof(*certificate));
    if (certificate == NULL)
        return NULL;
    certificate->chain = sk_X509_new_null();
    if (certificate->chain != NULL)
        certificate->leaf =
            bytes[0] == DER_SEQUENCE ? read_der(bytes, count) : read_pem(bytes, count, certificate->chain);
    ERR_clear_error();
    if (certificate->leaf == NULL) {
        signing_certificate_free(certificate);
        return NULL;
    }
    return certificate;
}

void signing_certificate_free(struct signing_certificate *certificate)
{
    if (certificate == NULL)
        return;
    X509_free(certificate->leaf);
    free_stack(certificate->chain);
    free(certificate);
}

/* The entry is the only one of its kind and has this value. */
static bool name_has(const X509_NAME *name, int nid, const char *wanted, bool ignoring_case)
{
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
        return false;
    unsigned char *value = NULL;
    int length = ASN1_STRING_to_UTF8(&value, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    bool is_same = length >= 0 && (size_t)length == strlen(wanted) &&
                   (ignoring_case ? strncasecmp((const char *)value, wanted, (size_t)length) == 0
                                  : memcmp(value, wanted, (size_t)length) == 0);
    OPENSSL_free(value);
    return is_same;
}

static bool has_dns_name(const X509 *leaf, const char *wanted)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool is_found = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !is_found; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        size_t length = (size_t)ASN1_STRING_length(name->d.dNSName);
        is_found = length == strlen(wanted) &&
                   strncasecmp((const char *)ASN1_STRING_get0_data(name->d.dNSName), wanted, length) == 0;
    }
    GENERAL_NAMES_free(names);
    return is_found;
}

static bool has_allowed_name(const X509 *leaf, const struct signing_policy *policy)
{
    for (size_t i = 0; i < policy->subject_name_count; i++)
        if (name_has(X509_get_subject_name(leaf), NID_commonName, policy->subject_names[i], true) ||
            has_dns_name(leaf, policy->subject_names[i]))
            return true;
    return policy->subject_name_count == 0;
}

static bool has_good_key(const X509 *leaf)
{
    const EVP_PKEY *key = X509_get0_pubkey(leaf);
    return key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= SIGNING_KEY_MIN_BITS;
}

static int push_all(STACK_OF(X509) * to, const STACK_OF(X509) * from)
{
    for (int i = 0; i < sk_X509_num(from); i++)
        if (sk_X509_push(to, sk_X509_value(from, i)) <= 0)
            return -1;
    return 0;
}

static bool has_good_chain(const struct signing_certificate *certificate, const struct signing_policy *policy,
                           int64_t now_seconds)
{
    bool is_good = false;
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    X509_STORE_CTX *context = X509_STORE_CTX_new();

    if (untrusted == NULL || context == NULL || push_all(untrusted, certificate->chain) < 0 ||
        (policy->intermediates != NULL && push_all(untrusted, policy->intermediates) < 0) ||
        X509_STORE_CTX_init(context, policy->roots, certificate->leaf, untrusted) != 1)
        goto out;
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
    if (X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT) != 1)
        goto out;
    X509_VERIFY_PARAM_set_time(parameters, (time_t)now_seconds);
    X509_VERIFY_PARAM_set_depth(parameters, CHAIN_DEPTH_MAX);
    X509_VERIFY_PARAM_set_auth_level(parameters, SECURITY_LEVEL);
    is_good = X509_verify_cert(context) == 1;
out:
    X509_STORE_CTX_free(context);
    sk_X509_free(untrusted);
    ERR_clear_error();
    return is_good;
}

bool signing_certificate_is_acceptable(const struct signing_certificate *certificate,
                                       const struct signing_policy *policy, int64_t now_seconds,
                                       const char **ret_reason)
{
    X509 *leaf = certificate->leaf;
    const X509_NAME *issuer = X509_get_issuer_name(leaf);

    *ret_reason = "acceptable";
    if (!has_good_key(leaf))
        *ret_reason = "key";
    else if (X509_NAME_cmp(issuer, X509_get_subject_name(leaf)) == 0)
        *ret_reason = "self_signed";
    else if (!name_has(issuer, NID_organizationName, policy->issuer_organization, false))
        *ret_reason = "issuer";
    else if (!has_allowed_name(leaf, policy))
        *ret_reason = "subject";
    else if ((X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0)
        *ret_reason = "key_usage";
    else if (X509_check_ca(leaf) != 0)
        *ret_reason = "authority";
    else if (X509_cmp_time(X509_get0_notBefore(leaf), &(time_t){(time_t)now_seconds}) >= 0 ||
             X509_cmp_time(X509_get0_notAfter(leaf), &(time_t){(time_t)now_seconds}) <= 0)
        *ret_reason = "validity";
    else if (!has_good_chain(certificate, policy, now_seconds))
        *ret_reason = "chain";
    else
        return true;
    return false;
}

/* --- Signature --- */

static bool verify(EVP_PKEY *key, const unsigned char *signature, size_t signature_length, const char *body,
                   size_t length)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *parameters = NULL;
    bool is_right = context != NULL && EVP_DigestVerifyInit(context, &parameters, EVP_sha256(), NULL, key) == 1 &&
                    EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PADDING) == 1 &&
                    EVP_DigestVerify(context, signature, signature_length, (const unsigned char *)body, length) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return is_right;
}

bool signature_matches(const struct signature *signature, const struct signing_certificate *certificate,
                       const char *body, size_t length, size_t *ret_offset)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate->leaf);
    bool has_mark = length >= BYTE_ORDER_MARK_LENGTH && memcmp(body, byte_order_mark, BYTE_ORDER_MARK_LENGTH) == 0;

    if (!has_good_key(certificate->leaf))
        return false;
    for (size_t i = 0; i < signature->count; i++) {
        for (size_t offset = 0; offset <= (has_mark ? (size_t)BYTE_ORDER_MARK_LENGTH : 0);
             offset += BYTE_ORDER_MARK_LENGTH) {
            if (verify(key, signature->candidates[i].bytes, signature->candidates[i].length, body + offset,
                       length - offset)) {
                *ret_offset = offset;
                return true;
            }
        }
    }
    return false;
}
