/* A document is a certificate or it is not; one that is, is accepted under our root or refused with a reason, never under
 * no root at all, and never vouches for a signature that is made up. */
#include <openssl/pem.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/attributes.h"
#include "ingest/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1800000000 /* in 2027 */ };

/* Valid until 2120; its key was thrown away. The corpus holds certificates that it has signed. */
static const char root_pem[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIDUTCCAjmgAwIBAgIUImuAof11Uztm55oq20hQi8b/RJEwDQYJKoZIhvcNAQEL\n"
                               "BQAwLzEWMBQGA1UECgwNRXhhbXBsZSBUcnVzdDEVMBMGA1UEAwwMRXhhbXBsZSBS\n"
                               "b290MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAvMRYwFAYDVQQK\n"
                               "DA1FeGFtcGxlIFRydXN0MRUwEwYDVQQDDAxFeGFtcGxlIFJvb3QwggEiMA0GCSqG\n"
                               "SIb3DQEBAQUAA4IBDwAwggEKAoIBAQCEvWQDS2ko6cMWZD8PAv3k/pHzyHL4gdPq\n"
                               "oXK/7P0h+5zer63fxa1NiASA+HTGLXJrd9nrKtkpXla18MYltd991ji3rlhH3acP\n"
                               "d4efskfCQyk4pZZgXdM2okMDmtrD95EmvTnbKAIKcFGzPDz+uFTAtIfbVbuDBS4f\n"
                               "fXKba4WlcvGqXLA7KPXWYI1O0IsrIngdbl0mJERoO58ttlIPAptxyEIx055TUkDX\n"
                               "3qWPr1xzqJo3hfia1xFgn60+vc67d6OD+n0yIlqyWQ5no1WHVsFi7EMVK9HJmyDu\n"
                               "uUFQTUyD2fXhXqSQ6MC/h/ZbrrVmHstGvjl5T8q6sdnwNCma5l3NAgMBAAGjYzBh\n"
                               "MA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFOnBaXYWIRz0lWGisu2D4tpy9KfZ\n"
                               "MB8GA1UdIwQYMBaAFOnBaXYWIRz0lWGisu2D4tpy9KfZMA4GA1UdDwEB/wQEAwIB\n"
                               "BjANBgkqhkiG9w0BAQsFAAOCAQEABN+pBco1EWfsOqNK+mF4TY+oDZYgXQs7hxyN\n"
                               "1IeJAmzAkgDXTYGvudkusdX7j2HYEK08grpQR9hKq+VoKJFEw2/udSmQQKMQQlIV\n"
                               "Tf6+hIkfQJJtP3ZdWW1lbtDnhyfjwQEXmtc3iWO3ve+nTqhQk6us5hcJL62leoPU\n"
                               "gqi28ikd1XFOSaU2YFd3XG0jriJXeJohkDjgcwF89JQAF/06G6Owm2qJxvOOhu76\n"
                               "vG1M2junknpmJ0SXfW9vb+W9JBYSd/9HZT467VWbNnyvinUK4lRpwEP5rcFLL/FD\n"
                               "eoOjQrcqNsFxHz6i8WxB8HWQrbR7aXSf480LmTSb1sc2/bkJkw==\n"
                               "-----END CERTIFICATE-----\n";

static void require(bool holds)
{
    if (!holds)
        abort();
}

static X509_STORE *store_with_root(void)
{
    X509_STORE *store = X509_STORE_new();
    BIO *bio = BIO_new_mem_buf(root_pem, -1);
    X509 *root = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    require(store != NULL && root != NULL && X509_STORE_add_cert(store, root) == 1);
    X509_free(root);
    BIO_free(bio);
    return store;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static X509_STORE *roots, *nobody;
    if (roots == NULL) {
        roots = store_with_root();
        nobody = X509_STORE_new();
        require(nobody != NULL);
    }
    struct signing_certificate *certificate = signing_certificate_read((const char *)data, size);
    if (certificate == NULL)
        return 0;

    static const char *const names[] = {"signer.example", "other.example"};
    const struct signing_policy policies[] = {
        {.roots = roots, .issuer_organization = "Example Trust"},
        {.roots = roots, .issuer_organization = "Example Trust", .subject_names = names, .subject_name_count = 2},
        {.roots = nobody, .issuer_organization = "Example Trust"},
    };
    bool is_acceptable[ARRAY_LENGTH(policies)];
    for (size_t i = 0; i < ARRAY_LENGTH(policies); i++) {
        const char *reason = NULL;
        is_acceptable[i] = signing_certificate_is_acceptable(certificate, &policies[i], NOW, &reason);
        require(reason != NULL);
    }
    require(!is_acceptable[2] && (is_acceptable[0] || !is_acceptable[1]));

    static const struct signature made_up = {.count = 1, .candidates = {{.bytes = {1, 2, 3}, .length = 256}}};
    size_t offset;
    require(!signature_matches(&made_up, certificate, "body", 4, &offset));
    signing_certificate_free(certificate);
    return 0;
}
