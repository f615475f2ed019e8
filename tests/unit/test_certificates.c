#include "ingest/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "common/http/client.h"

#define PREFIX "https://certificates.example/cert/"
#define BODY   "{}"

enum { SENT_MAX = 32 };

/* --- An HTTP client that the test answers for --- */

struct http_client {
    struct {
        char *url;
        http_callback on_done;
        void *arg;
    } sent[SENT_MAX];
    size_t count;
    size_t answered;
    bool refuses_private;
};

static struct http_client fake;

int http_client_new(struct loop *loop, const struct http_client_settings *settings, struct http_client **ret_client,
                    struct error *err)
{
    (void)loop;
    (void)err;
    assert_true(settings->response_max_bytes <= 16 * 1024 && settings->total_timeout_ms <= 3000);
    fake = (struct http_client){.refuses_private = settings->refuse_private_addresses};
    *ret_client = &fake;
    return 0;
}

static void answer_one(enum http_result result, long status, const char *body, size_t length)
{
    struct http_response response = {.result = result, .status = status, .body = body, .body_length = length};
    assert_true(fake.answered < fake.count);
    size_t at = fake.answered++;
    fake.sent[at].on_done(fake.sent[at].arg, &response);
    free(fake.sent[at].url);
}

void http_client_free(struct http_client *client)
{
    while (client != NULL && fake.answered < fake.count)
        answer_one(HTTP_CANCELLED, 0, "", 0);
}

int http_send(struct http_client *client, const struct http_request *request, http_callback on_done, void *arg,
              struct error *err)
{
    (void)err;
    assert_true(client->count < SENT_MAX);
    client->sent[client->count].url = text_copy(request->url);
    client->sent[client->count].on_done = on_done;
    client->sent[client->count++].arg = arg;
    return 0;
}

/* --- Two senders' certificates of one authority --- */

struct sender {
    EVP_PKEY *key;
    char pem[4096];
    char *signature; /* of BODY */
};

static EVP_PKEY *ca_key;
static X509 *ca;
static struct sender first, second;
static char folder[] = "/tmp/tandem-certificates-XXXXXX";
static char *roots_file, *first_file;

static void set_name(X509_NAME *name, const char *common_name)
{
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Example Corporation", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static X509 *make(const char *name, EVP_PKEY *key, bool is_authority)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 3);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    set_name(X509_get_subject_name(certificate), name);
    set_name(X509_get_issuer_name(certificate), "Example CA");
    X509_set_pubkey(certificate, key);
    extend(certificate, certificate, NID_basic_constraints, is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extend(certificate, certificate, NID_subject_key_identifier, "hash");
    extend(certificate, certificate, NID_key_usage,
           is_authority ? "critical,keyCertSign" : "critical,digitalSignature");
    if (!is_authority)
        extend(certificate, ca, NID_authority_key_identifier, "keyid:always");
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    return certificate;
}

static void write_pem(X509 *certificate, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    int length = BIO_read(bio, out, (int)size - 1);
    assert_true(length > 0);
    out[length] = '\0';
    BIO_free(bio);
}

static void make_sender(struct sender *sender, const char *name)
{
    unsigned char bytes[512];
    char text[1024];
    size_t size = sizeof(bytes);
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    sender->key = EVP_RSA_gen(2048);
    X509 *certificate = make(name, sender->key, false);
    write_pem(certificate, sender->pem, sizeof(sender->pem));
    X509_free(certificate);
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, sender->key), 1);
    assert_int_equal(EVP_DigestSign(context, bytes, &size, (const unsigned char *)BODY, 2), 1);
    EVP_MD_CTX_free(context);
    EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
    sender->signature = text_format("Signature %s", text);
}

static char *write_file(const char *name, const char *content)
{
    char *path = text_format("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static int setup(void **state)
{
    char pem[4096];

    (void)state;
    assert_non_null(mkdtemp(folder));
    ca_key = EVP_RSA_gen(2048);
    ca = make("Example CA", ca_key, true);
    make_sender(&first, "first.example");
    make_sender(&second, "second.example");
    write_pem(ca, pem, sizeof(pem));
    roots_file = write_file("roots.pem", pem);
    first_file = write_file("first.pem", first.pem);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(roots_file);
    unlink(first_file);
    rmdir(folder);
    free(roots_file);
    free(first_file);
    free(first.signature);
    free(second.signature);
    EVP_PKEY_free(first.key);
    EVP_PKEY_free(second.key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    return 0;
}

/* --- The module under test --- */

static char prefix_text[] = PREFIX;
static char *prefixes[] = {prefix_text};
static char organization[] = "Example Corporation";

static struct certificates_settings settings(void)
{
    return (struct certificates_settings){
        .trusted_roots = roots_file,
        .certificate_urls = {prefixes, 1},
        .issuer_organization = organization,
        .certificate_lifetime_ms = 3600 * 1000,
        .failure_lifetime_ms = 3600 * 1000,
        .downloads_per_minute = 10,
    };
}

struct verdicts {
    size_t count;
    enum signature_verdict last;
};

static void on_verdict(void *arg, enum signature_verdict verdict, const char *detail, size_t offset)
{
    struct verdicts *verdicts = arg;
    assert_non_null(detail);
    assert_int_equal(offset, 0);
    verdicts->count++;
    verdicts->last = verdict;
}

static void judge(struct certificates *certificates, const struct sender *sender, const char *url,
                  struct verdicts *verdicts)
{
    const struct request_field fields[] = {
        {"authorization", sender->signature},
        {"x-ms-signature-algorithm", "rsa-sha256"},
        {"x-ms-certificate-url", url},
    };
    certificates_judge(certificates, fields, url == NULL ? 2 : 3, BODY, 2, on_verdict, verdicts);
}

static struct certificates *start(const struct certificates_settings *wanted)
{
    struct certificates *certificates = NULL;
    struct error err = ERROR_INIT;
    if (certificates_new(NULL, wanted, &certificates, &err) < 0)
        fail_msg("%s", err.message);
    return certificates;
}

/* The first request waits for the download; those with it and after it need no other. */
static void test_certificate_is_downloaded_once(void **state)
{
    struct certificates_settings wanted = settings();
    struct certificates *certificates = start(&wanted);
    struct verdicts verdicts = {0};

    (void)state;
    assert_true(fake.refuses_private);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    assert_int_equal(verdicts.count, 0);
    assert_int_equal(fake.count, 1);
    assert_string_equal(fake.sent[0].url, PREFIX "a.cer");
    answer_one(HTTP_ANSWERED, 200, first.pem, strlen(first.pem));
    assert_int_equal(verdicts.count, 2);
    assert_int_equal(verdicts.last, SIGNATURE_VALID);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    assert_int_equal(verdicts.count, 3);
    assert_int_equal(verdicts.last, SIGNATURE_VALID);
    assert_int_equal(fake.count, 1);
    certificates_free(certificates);
}

/* A URL that is not allowed makes no connection (B35 to B37). */
static void test_foreign_url_makes_no_connection(void **state)
{
    static const char *const urls[] = {
        NULL,
        "",
        "http://certificates.example/cert/a.cer",
        "ftp://certificates.example/cert/a.cer",
        "file:///cert/a.cer",
        "gopher://certificates.example/cert/a.cer",
        "https://evil.certificates.example/cert/a.cer",
        "https://certificates.example.evil/cert/a.cer",
        "https://good@certificates.example/cert/a.cer",
        "https://certificates.example@evil/cert/a.cer",
        "https://certificates.example:443/cert/a.cer",
        "https://certificates.example./cert/a.cer",
        "https://CERTIFICATES.example/cert/a.cer",
        "https://c\xd0\xb5rtificates.example/cert/a.cer",
        "https://127.0.0.1/cert/a.cer",
        "https://[::1]/cert/a.cer",
        "https://[::ffff:127.0.0.1]/cert/a.cer",
        "https://169.254.169.254/cert/a.cer",
        "https://2130706433/cert/a.cer",
        PREFIX,
        PREFIX "../a.cer",
        PREFIX "%2e%2e/a.cer",
        PREFIX "a//b",
        PREFIX "a?b",
        PREFIX "a#b",
        PREFIX "a b",
        PREFIX "a\\b",
    };
    struct certificates_settings wanted = settings();
    struct certificates *certificates = start(&wanted);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(urls); i++) {
        struct verdicts verdicts = {0};
        judge(certificates, &first, urls[i], &verdicts);
        if (verdicts.count != 1 || verdicts.last != SIGNATURE_CERTIFICATE_URL || fake.count != 0)
            fail_msg("%s: %zu verdicts, %s", urls[i], verdicts.count, signature_verdict_name(verdicts.last));
    }
    certificates_free(certificates);
}

/* A failed download is remembered and not repeated at once (B38). */
static void test_failed_download_is_remembered(void **state)
{
    static const struct {
        enum http_result result;
        long status;
        const char *body;
    } failures[] = {{HTTP_ANSWERED, 302, ""},
                    {HTTP_ANSWERED, 404, ""},
                    {HTTP_ANSWERED, 200, "<html>"},
                    {HTTP_UNKNOWN, 0, ""},
                    {HTTP_NOT_SENT, 0, ""}};
    struct certificates_settings wanted = settings();
    struct certificates *certificates = start(&wanted);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(failures); i++) {
        struct verdicts verdicts = {0};
        char *url = text_format(PREFIX "%zu.cer", i);
        judge(certificates, &first, url, &verdicts);
        answer_one(failures[i].result, failures[i].status, failures[i].body, strlen(failures[i].body));
        assert_int_equal(verdicts.count, 1);
        assert_int_equal(verdicts.last, SIGNATURE_CERTIFICATE_MISSING);
        judge(certificates, &first, url, &verdicts);
        assert_int_equal(verdicts.count, 2);
        assert_int_equal(verdicts.last, SIGNATURE_CERTIFICATE_MISSING);
        assert_int_equal(fake.count, i + 1);
        free(url);
    }
    certificates_free(certificates);
}

/* A certificate renewed behind the same URL is found out by the signature, but wrong signatures do not make us download
 * again and again. */
static void test_wrong_signature_makes_one_more_download(void **state)
{
    struct certificates_settings wanted = settings();
    struct verdicts verdicts = {0};

    (void)state;
    wanted.failure_lifetime_ms = 0;
    struct certificates *certificates = start(&wanted);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    answer_one(HTTP_ANSWERED, 200, first.pem, strlen(first.pem));
    judge(certificates, &second, PREFIX "a.cer", &verdicts);
    assert_int_equal(fake.count, 2);
    answer_one(HTTP_ANSWERED, 200, second.pem, strlen(second.pem));
    assert_int_equal(verdicts.count, 2);
    assert_int_equal(verdicts.last, SIGNATURE_VALID);

    wanted.failure_lifetime_ms = 3600 * 1000;
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    assert_int_equal(verdicts.count, 3);
    assert_int_equal(verdicts.last, SIGNATURE_MISMATCH);
    assert_int_equal(fake.count, 2);
    certificates_free(certificates);
}

/* While it cannot be renewed, an old certificate stays in use. */
static void test_certificate_outlives_a_failed_renewal(void **state)
{
    struct certificates_settings wanted = settings();
    struct verdicts verdicts = {0};

    (void)state;
    wanted.failure_lifetime_ms = 0;
    wanted.certificate_lifetime_ms = 0;
    struct certificates *certificates = start(&wanted);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    answer_one(HTTP_ANSWERED, 200, first.pem, strlen(first.pem));
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    assert_int_equal(fake.count, 2);
    answer_one(HTTP_UNKNOWN, 0, "", 0);
    assert_int_equal(verdicts.count, 2);
    assert_int_equal(verdicts.last, SIGNATURE_VALID);
    certificates_free(certificates);
}

/* All URLs together are downloaded at a bounded rate, and made-up ones do not push out one in use. */
static void test_downloads_are_bounded(void **state)
{
    struct certificates_settings wanted = settings();
    struct certificates *certificates = start(&wanted);
    struct verdicts verdicts = {0};

    (void)state;
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    answer_one(HTTP_ANSWERED, 200, first.pem, strlen(first.pem));
    for (size_t i = 0; i < 40; i++) {
        char *url = text_format(PREFIX "%zu.cer", i);
        judge(certificates, &first, url, &verdicts);
        while (fake.answered < fake.count)
            answer_one(HTTP_ANSWERED, 404, "", 0);
        assert_int_equal(verdicts.last, SIGNATURE_CERTIFICATE_MISSING);
        free(url);
    }
    assert_int_equal(fake.count, 10);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    assert_int_equal(verdicts.last, SIGNATURE_VALID);
    certificates_free(certificates);
}

/* Pinned certificates are the only ones that count, and nothing is downloaded (B40). */
static void test_pinned_certificate_is_the_only_one(void **state)
{
    struct certificates_settings wanted = settings();
    struct verdicts verdicts = {0};

    (void)state;
    fake = (struct http_client){0};
    wanted.pinned_certificates = (struct config_list){&first_file, 1};
    struct certificates *certificates = start(&wanted);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    assert_int_equal(verdicts.last, SIGNATURE_VALID);
    judge(certificates, &second, PREFIX "a.cer", &verdicts);
    assert_int_equal(verdicts.last, SIGNATURE_MISMATCH);
    judge(certificates, &first, "https://evil.example/cert/a.cer", &verdicts);
    assert_int_equal(verdicts.last, SIGNATURE_CERTIFICATE_URL);
    assert_int_equal(verdicts.count, 3);
    assert_int_equal(fake.count, 0);
    certificates_free(certificates);
}

/* A right signature by a certificate that is not acceptable is not valid. */
static void test_certificate_must_be_acceptable(void **state)
{
    static char other[] = "Other Corporation";
    struct certificates_settings wanted = settings();
    struct verdicts verdicts = {0};

    (void)state;
    wanted.issuer_organization = other;
    struct certificates *certificates = start(&wanted);
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    answer_one(HTTP_ANSWERED, 200, first.pem, strlen(first.pem));
    assert_int_equal(verdicts.count, 1);
    assert_int_equal(verdicts.last, SIGNATURE_CERTIFICATE);
    certificates_free(certificates);
}

/* Whoever waits is told when it ends. */
static void test_waiting_request_is_told_at_the_end(void **state)
{
    struct certificates_settings wanted = settings();
    struct certificates *certificates = start(&wanted);
    struct verdicts verdicts = {0};

    (void)state;
    judge(certificates, &first, PREFIX "a.cer", &verdicts);
    certificates_free(certificates);
    assert_int_equal(verdicts.count, 1);
    assert_int_equal(verdicts.last, SIGNATURE_CERTIFICATE_MISSING);
}

/* Files that are not there or hold something else are told by name. */
static void test_wrong_files_are_refused(void **state)
{
    struct certificates_settings wanted = settings();
    struct certificates *certificates = NULL;
    struct error err = ERROR_INIT;
    char *empty = write_file("empty.pem", "nothing");

    (void)state;
    wanted.trusted_roots = empty;
    assert_int_equal(certificates_new(NULL, &wanted, &certificates, &err), -1);
    assert_int_equal(err.class, ERROR_CONFIG);
    assert_non_null(strstr(err.message, "empty.pem"));
    wanted = settings();
    wanted.pinned_certificates = (struct config_list){&empty, 1};
    assert_int_equal(certificates_new(NULL, &wanted, &certificates, &err), -1);
    assert_non_null(strstr(err.message, "empty.pem"));
    unlink(empty);
    assert_int_equal(certificates_new(NULL, &wanted, &certificates, &err), -1);
    assert_int_equal(err.class, ERROR_CONFIG);
    free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificate_is_downloaded_once),
        cmocka_unit_test(test_foreign_url_makes_no_connection),
        cmocka_unit_test(test_failed_download_is_remembered),
        cmocka_unit_test(test_wrong_signature_makes_one_more_download),
        cmocka_unit_test(test_certificate_outlives_a_failed_renewal),
        cmocka_unit_test(test_downloads_are_bounded),
        cmocka_unit_test(test_pinned_certificate_is_the_only_one),
        cmocka_unit_test(test_certificate_must_be_acceptable),
        cmocka_unit_test(test_waiting_request_is_told_at_the_end),
        cmocka_unit_test(test_wrong_files_are_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
