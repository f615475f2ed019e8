#include "ingest/signature.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"

enum { NOW = 1800000000, DAY = 86400, DOCUMENT_SIZE = 8192 };

/* --- Certificates made here --- */

struct recipe {
    const char *issuer_organization;
    const char *common_name;
    const char *dns_name;
    EVP_PKEY *key;
    EVP_PKEY *issuer_key;
    const char *issuer_name; /* common name of the issuer; the same as common_name: self-signed */
    int64_t from, to;        /* relative to NOW */
    const char *key_usage;
    const char *constraints;
};

static EVP_PKEY *ca_key, *leaf_key, *other_key, *small_key, *curve_key;
static X509 *ca;
static X509_STORE *roots;

static void set_name(X509_NAME *name, const char *organization, const char *common_name)
{
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)organization, -1, -1, 0), 1);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0), 1);
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *make(const struct recipe *recipe)
{
    X509 *certificate = X509_new();
    assert_non_null(certificate);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
    ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)(NOW + recipe->from));
    ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)(NOW + recipe->to));
    set_name(X509_get_subject_name(certificate), "Example Corporation", recipe->common_name);
    set_name(X509_get_issuer_name(certificate), recipe->issuer_organization, recipe->issuer_name);
    X509_set_pubkey(certificate, recipe->key);
    add_extension(certificate, certificate, NID_basic_constraints, recipe->constraints);
    add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
    if (recipe->key_usage != NULL)
        add_extension(certificate, certificate, NID_key_usage, recipe->key_usage);
    if (ca != NULL)
        add_extension(certificate, ca, NID_authority_key_identifier, "keyid:always");
    if (recipe->dns_name != NULL)
        add_extension(certificate, certificate, NID_subject_alt_name, recipe->dns_name);
    assert_true(X509_sign(certificate, recipe->issuer_key, EVP_sha256()) > 0);
    return certificate;
}

static struct recipe good_recipe(void)
{
    return (struct recipe){
        .issuer_organization = "Example Corporation",
        .common_name = "notifications.example",
        .key = leaf_key,
        .issuer_key = ca_key,
        .issuer_name = "Example CA",
        .from = -DAY,
        .to = DAY,
        .key_usage = "critical,digitalSignature",
        .constraints = "critical,CA:FALSE",
    };
}

static int setup(void **state)
{
    (void)state;
    ca_key = EVP_RSA_gen(2048);
    leaf_key = EVP_RSA_gen(2048);
    other_key = EVP_RSA_gen(2048);
    small_key = EVP_RSA_gen(1024);
    curve_key = EVP_EC_gen("P-256");
    struct recipe recipe = good_recipe();
    recipe.common_name = "Example CA";
    recipe.key = ca_key;
    recipe.key_usage = "critical,keyCertSign";
    recipe.constraints = "critical,CA:TRUE";
    recipe.from = -10 * DAY;
    recipe.to = 10 * DAY;
    ca = make(&recipe);
    roots = X509_STORE_new();
    return X509_STORE_add_cert(roots, ca) == 1 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    X509_STORE_free(roots);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(small_key);
    EVP_PKEY_free(curve_key);
    return 0;
}

static size_t write_document(X509 *const *certificates, size_t count, bool as_der, char out[static DOCUMENT_SIZE])
{
    BIO *bio = BIO_new(BIO_s_mem());
    for (size_t i = 0; i < count; i++)
        assert_int_equal(as_der ? i2d_X509_bio(bio, certificates[i]) : PEM_write_bio_X509(bio, certificates[i]), 1);
    int length = BIO_read(bio, out, DOCUMENT_SIZE);
    assert_true(length > 0);
    BIO_free(bio);
    return (size_t)length;
}

static struct signing_certificate *read_recipe(const struct recipe *recipe)
{
    char document[DOCUMENT_SIZE];
    X509 *certificate = make(recipe);
    size_t length = write_document(&certificate, 1, true, document);
    X509_free(certificate);
    struct signing_certificate *read = signing_certificate_read(document, length);
    assert_non_null(read);
    return read;
}

static struct signing_policy policy(void)
{
    return (struct signing_policy){.roots = roots, .issuer_organization = "Example Corporation"};
}

static void assert_reason(const struct recipe *recipe, const struct signing_policy *rules, const char *reason)
{
    AUTO(signing_certificate) struct signing_certificate *certificate = read_recipe(recipe);
    const char *given = NULL;
    bool is_acceptable = signing_certificate_is_acceptable(certificate, rules, NOW, &given);
    assert_string_equal(given, reason);
    assert_int_equal(is_acceptable, strcmp(reason, "acceptable") == 0);
}

static char *base64(const unsigned char *bytes, size_t count)
{
    char *text = malloc(count * 2 + 4);
    assert_non_null(text);
    EVP_EncodeBlock((unsigned char *)text, bytes, (int)count);
    return text;
}

/* base64 of the RSA signature; free(). */
static char *sign(EVP_PKEY *key, const EVP_MD *digest, int padding, const char *body, size_t length)
{
    unsigned char bytes[SIGNATURE_MAX_BYTES];
    size_t size = sizeof(bytes);
    EVP_PKEY_CTX *parameters;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, &parameters, digest, NULL, key), 1);
    assert_true(EVP_PKEY_CTX_set_rsa_padding(parameters, padding) > 0);
    assert_int_equal(EVP_DigestSign(context, bytes, &size, (const unsigned char *)body, length), 1);
    EVP_MD_CTX_free(context);
    return base64(bytes, size);
}

/* --- The test vector --- */

static size_t decode_body(const char *text, char *out)
{
    size_t length = strlen(text);
    int count = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)length);
    assert_true(count > 0);
    return (size_t)count - (text[length - 1] == '=') - (text[length - 2] == '=');
}

static X509_STORE *store_of(const char *pem)
{
    X509_STORE *store = X509_STORE_new();
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_int_equal(X509_STORE_add_cert(store, certificate), 1);
    X509_free(certificate);
    BIO_free(bio);
    return store;
}

static bool accepts(json_t *vector, json_t *one_case)
{
    struct request_field fields[8];
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(one_case, "headers"), name, value)
        fields[count++] = (struct request_field){name, json_string_value(value)};

    char body[4096];
    size_t length = decode_body(json_string_value(json_object_get(one_case, "body_base64")), body);
    const char *pem = json_string_value(json_object_get(vector, "certificate_pem"));
    AUTO(signing_certificate) struct signing_certificate *certificate = signing_certificate_read(pem, strlen(pem));
    assert_non_null(certificate);

    struct signing_policy rules = policy();
    rules.roots = store_of(json_string_value(json_object_get(vector, "test_ca_pem")));
    rules.issuer_organization = json_string_value(json_object_get(vector, "expected_issuer_organization"));
    const char *reason;
    assert_true(signing_certificate_is_acceptable(certificate, &rules, NOW, &reason));
    X509_STORE_free(rules.roots);

    struct signature signature;
    size_t offset;
    return signature_read(fields, count, &signature) == SIGNATURE_VALID &&
           signature_matches(&signature, certificate, body, length, &offset);
}

/* What the vector says of each delivery is what comes out. */
static void test_vector_is_judged_as_it_says(void **state)
{
    json_error_t fault;
    json_t *vector = json_load_file(TANDEM_SOURCE_DIR "/tests/cases/signature/vector.json", 0, &fault);
    size_t i;
    json_t *one_case;

    (void)state;
    assert_non_null(vector);
    assert_true(json_array_size(json_object_get(vector, "cases")) > 10);
    json_array_foreach (json_object_get(vector, "cases"), i, one_case) {
        bool is_wanted = strcmp(json_string_value(json_object_get(one_case, "expect")), "accept") == 0;
        if (accepts(vector, one_case) != is_wanted)
            fail_msg("%s", json_string_value(json_object_get(one_case, "name")));
    }
    json_decref(vector);
}

/* --- Headers --- */

#define SOME  "c29tZQ=="
#define OTHER "b3RoZXI="

struct header_case {
    const char *name;
    struct request_field fields[4];
    enum signature_verdict verdict;
    size_t candidates;
};

#define ALGORITHM                                \
    {                                            \
        "x-ms-signature-algorithm", "rsa-sha256" \
    }

static const struct header_case header_cases[] = {
    {"Authorization", {{"Authorization", "Signature " SOME}, ALGORITHM}, SIGNATURE_VALID, 1},
    {"B30 odd case", {{"authorization", "sIGNATURE " SOME}, ALGORITHM}, SIGNATURE_VALID, 1},
    {"x-ms-signature", {{"X-MS-Signature", "Signature " SOME}, ALGORITHM}, SIGNATURE_VALID, 1},
    {"gateway's own Authorization",
     {{"Authorization", "Bearer x"}, {"x-ms-signature", "Signature " SOME}, ALGORITHM},
     SIGNATURE_VALID,
     1},
    {"B29 none", {ALGORITHM}, SIGNATURE_MISSING, 0},
    {"B30 Bearer", {{"Authorization", "Bearer " SOME}, ALGORITHM}, SIGNATURE_MISSING, 0},
    {"scheme is a prefix", {{"Authorization", "Signatures " SOME}, ALGORITHM}, SIGNATURE_MISSING, 0},
    {"B31 empty", {{"Authorization", "Signature"}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 empty alternate", {{"x-ms-signature", ""}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 no base64", {{"Authorization", "Signature ***="}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 not padded", {{"Authorization", "Signature c29tZQ"}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 padded too much", {{"Authorization", "Signature c29t===="}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 only padding", {{"Authorization", "Signature ===="}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 padding inside", {{"Authorization", "Signature c2==c29t"}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 unused bits set", {{"Authorization", "Signature c29tZR=="}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B31 URL alphabet", {{"Authorization", "Signature c29tZ_=="}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"alternate without scheme", {{"x-ms-signature", SOME}, ALGORITHM}, SIGNATURE_MALFORMED, 0},
    {"B34 rsa-sha1",
     {{"Authorization", "Signature " SOME}, {"x-ms-signature-algorithm", "rsa-sha1"}},
     SIGNATURE_ALGORITHM,
     0},
    {"B34 none", {{"Authorization", "Signature " SOME}, {"x-ms-signature-algorithm", "none"}}, SIGNATURE_ALGORITHM, 0},
    {"B34 longer",
     {{"Authorization", "Signature " SOME}, {"x-ms-signature-algorithm", "rsa-sha256x"}},
     SIGNATURE_ALGORITHM,
     0},
    {"B34 absent", {{"Authorization", "Signature " SOME}}, SIGNATURE_ALGORITHM, 0},
    {"B42 two", {{"Authorization", "Signature " SOME ", Signature " OTHER}, ALGORITHM}, SIGNATURE_VALID, 2},
    {"B42 two by blanks", {{"Authorization", "Signature " SOME " " OTHER}, ALGORITHM}, SIGNATURE_VALID, 2},
    {"B43 seven",
     {{"Authorization", "Signature " SOME "," SOME "," SOME "," SOME "," SOME "," SOME "," SOME}, ALGORITHM},
     SIGNATURE_VALID,
     SIGNATURES_TRIED_MAX},
    {"two Authorization",
     {{"Authorization", "Signature " SOME}, {"Authorization", "Signature " SOME}, ALGORITHM},
     SIGNATURE_REPEATED_HEADER,
     0},
    {"two algorithms", {{"Authorization", "Signature " SOME}, ALGORITHM, ALGORITHM}, SIGNATURE_REPEATED_HEADER, 0},
    {"two URLs",
     {{"Authorization", "Signature " SOME}, {"x-ms-certificate-url", "a"}, {"X-MS-Certificate-Url", "a"}, ALGORITHM},
     SIGNATURE_REPEATED_HEADER,
     0},
};

/* Each form of the headers has one meaning (B29 to B31, B34, B42, B43). */
static void test_header_forms_are_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(header_cases); i++) {
        const struct header_case *c = &header_cases[i];
        struct signature signature = {0};
        size_t count = 0;
        while (count < ARRAY_LENGTH(c->fields) && c->fields[count].name != NULL)
            count++;
        enum signature_verdict verdict = signature_read(c->fields, count, &signature);
        if (verdict != c->verdict || signature.count != c->candidates)
            fail_msg("%s: %s, %zu candidates", c->name, signature_verdict_name(verdict), signature.count);
    }
}

/* A signature longer than any key we know makes no candidate. */
static void test_overlong_signature_is_malformed(void **state)
{
    char value[2048] = "Signature ";
    const struct request_field fields[] = {{"authorization", value}, ALGORITHM};
    struct signature signature;

    (void)state;
    memset(value + strlen(value), 'A', 1600);
    assert_int_equal(signature_read(fields, 2, &signature), SIGNATURE_MALFORMED);
}

/* --- Certificates --- */

/* A certificate counts only with chain, issuer, names, time, key and purpose (B39, B40). */
static void test_certificate_is_judged(void **state)
{
    struct signing_policy rules = policy();
    struct recipe good = good_recipe();
    struct recipe recipe;

    (void)state;
    assert_reason(&good, &rules, "acceptable");
    recipe = good, recipe.key_usage = NULL;
    assert_reason(&recipe, &rules, "acceptable");
    recipe = good, recipe.to = -1;
    assert_reason(&recipe, &rules, "validity");
    recipe = good, recipe.from = 1;
    assert_reason(&recipe, &rules, "validity");
    recipe = good, recipe.issuer_organization = "Example Corporation Ltd";
    assert_reason(&recipe, &rules, "issuer");
    recipe = good, recipe.issuer_key = other_key;
    assert_reason(&recipe, &rules, "chain");
    recipe = good, recipe.issuer_name = "Other CA";
    assert_reason(&recipe, &rules, "chain");
    recipe = good, recipe.issuer_key = leaf_key, recipe.issuer_name = recipe.common_name;
    assert_reason(&recipe, &rules, "self_signed");
    recipe = good, recipe.key = small_key;
    assert_reason(&recipe, &rules, "key");
    recipe = good, recipe.key = curve_key;
    assert_reason(&recipe, &rules, "key");
    recipe = good, recipe.key_usage = "critical,keyEncipherment";
    assert_reason(&recipe, &rules, "key_usage");
    recipe = good, recipe.constraints = "critical,CA:TRUE", recipe.key_usage = "critical,digitalSignature,keyCertSign";
    assert_reason(&recipe, &rules, "authority");
}

/* With a list of subjects, one of them must be the common name or a DNS name. */
static void test_subject_is_held_to_the_list(void **state)
{
    static const char *const names[] = {"else.example", "Notifications.EXAMPLE"};
    struct signing_policy rules = policy();
    struct recipe recipe = good_recipe();

    (void)state;
    rules.subject_names = names;
    rules.subject_name_count = ARRAY_LENGTH(names);
    assert_reason(&recipe, &rules, "acceptable");
    recipe.common_name = "notifications.example.org";
    assert_reason(&recipe, &rules, "subject");
    recipe.dns_name = "DNS:*.example,DNS:notifications.example";
    assert_reason(&recipe, &rules, "acceptable");
    recipe.dns_name = "DNS:*.example";
    assert_reason(&recipe, &rules, "subject");
}

/* The document may hold the chain; one intermediate may also come from the operator. */
static void test_chain_is_built_from_document_or_intermediates(void **state)
{
    struct recipe recipe = good_recipe();
    char document[DOCUMENT_SIZE];
    const char *reason;

    (void)state;
    recipe.common_name = "Example Issuing CA";
    recipe.key = other_key;
    recipe.key_usage = "critical,keyCertSign";
    recipe.constraints = "critical,CA:TRUE,pathlen:0";
    X509 *intermediate = make(&recipe);
    recipe = good_recipe();
    recipe.issuer_name = "Example Issuing CA";
    recipe.issuer_key = other_key;
    X509 *root = ca;
    ca = intermediate;
    X509 *leaf = make(&recipe);
    ca = root;

    struct signing_policy rules = policy();
    X509 *both[] = {leaf, intermediate};
    size_t length = write_document(both, 2, false, document);
    struct signing_certificate *certificate = signing_certificate_read(document, length);
    assert_non_null(certificate);
    assert_true(signing_certificate_is_acceptable(certificate, &rules, NOW, &reason));
    signing_certificate_free(certificate);

    length = write_document(both, 1, false, document);
    certificate = signing_certificate_read(document, length);
    assert_false(signing_certificate_is_acceptable(certificate, &rules, NOW, &reason));
    assert_string_equal(reason, "chain");
    rules.intermediates = sk_X509_new_null();
    assert_true(sk_X509_push(rules.intermediates, intermediate) > 0);
    assert_true(signing_certificate_is_acceptable(certificate, &rules, NOW, &reason));
    signing_certificate_free(certificate);
    sk_X509_free(rules.intermediates);
    X509_free(leaf);
    X509_free(intermediate);
}

/* What is not exactly a certificate is none (B39). */
static void test_document_is_read_strictly(void **state)
{
    struct recipe recipe = good_recipe();
    char document[DOCUMENT_SIZE + 1] = "";
    X509 *leaf = make(&recipe);
    size_t length = write_document(&leaf, 1, true, document);

    (void)state;
    for (size_t cut = 0; cut < length; cut += 37)
        assert_null(signing_certificate_read(document, cut));
    assert_null(signing_certificate_read(document, length + 1));
    assert_null(signing_certificate_read("<html>", 6));
    assert_null(signing_certificate_read(document, SIGNING_DOCUMENT_MAX_BYTES + 1));

    length = write_document(&leaf, 1, false, document);
    assert_null(signing_certificate_read(document, length - 30));
    struct signing_certificate *certificate = signing_certificate_read(document, length);
    assert_non_null(certificate);
    signing_certificate_free(certificate);
    X509_free(leaf);
}

/* --- Signatures --- */

static bool matches(const char *signature_text, const struct signing_certificate *certificate, const char *body,
                    size_t length, size_t *ret_offset)
{
    char *value = text_format("Signature %s", signature_text);
    const struct request_field fields[] = {{"authorization", value}, ALGORITHM};
    struct signature signature;
    bool is_match = signature_read(fields, 2, &signature) == SIGNATURE_VALID &&
                    signature_matches(&signature, certificate, body, length, ret_offset);
    free(value);
    return is_match;
}

/* One changed bit, another key, digest or padding: no match (B32, B33). */
static void test_only_the_exact_signature_matches(void **state)
{
    static const char body[] = "{\"EventName\":\"referral-updated\"}";
    enum { LENGTH = sizeof(body) - 1 };
    struct recipe recipe = good_recipe();
    AUTO(signing_certificate) struct signing_certificate *certificate = read_recipe(&recipe);
    char changed[sizeof(body)];
    size_t offset = 77;

    (void)state;
    char *good = sign(leaf_key, EVP_sha256(), RSA_PKCS1_PADDING, body, LENGTH);
    assert_true(matches(good, certificate, body, LENGTH, &offset));
    assert_int_equal(offset, 0);
    for (size_t i = 0; i < LENGTH; i++) {
        memcpy(changed, body, sizeof(body));
        changed[i] ^= 1;
        assert_false(matches(good, certificate, changed, LENGTH, &offset));
    }
    assert_false(matches(good, certificate, body, LENGTH - 1, &offset));

    char *wrong[] = {
        sign(other_key, EVP_sha256(), RSA_PKCS1_PADDING, body, LENGTH),
        sign(leaf_key, EVP_sha1(), RSA_PKCS1_PADDING, body, LENGTH),
        sign(leaf_key, EVP_sha256(), RSA_PKCS1_PSS_PADDING, body, LENGTH),
        sign(small_key, EVP_sha256(), RSA_PKCS1_PADDING, body, LENGTH),
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        char *both = text_format("%s, Signature %s", wrong[i], good);
        assert_false(matches(wrong[i], certificate, body, LENGTH, &offset));
        assert_true(matches(both, certificate, body, LENGTH, &offset));
        free(both);
        free(wrong[i]);
    }
    free(good);
}

/* The right signature in sixth place is not looked at (B43). */
static void test_candidates_are_bounded(void **state)
{
    struct recipe recipe = good_recipe();
    AUTO(signing_certificate) struct signing_certificate *certificate = read_recipe(&recipe);
    char *good = sign(leaf_key, EVP_sha256(), RSA_PKCS1_PADDING, "x", 1);
    char *fifth = text_format("%s,*,%s,%s,%s", SOME, SOME, SOME, good);
    char *sixth = text_format("%s,*,%s,%s,%s,%s", SOME, SOME, SOME, SOME, good);
    size_t offset;

    (void)state;
    assert_true(matches(fifth, certificate, "x", 1, &offset));
    assert_false(matches(sixth, certificate, "x", 1, &offset));
    free(good);
    free(fifth);
    free(sixth);
}

/* A sender that signs the text without its byte order mark is understood; the mark is then no part of the text. */
static void test_byte_order_mark_may_be_unsigned(void **state)
{
    static const char body[] = "\xEF\xBB\xBF{}";
    struct recipe recipe = good_recipe();
    AUTO(signing_certificate) struct signing_certificate *certificate = read_recipe(&recipe);
    char *without = sign(leaf_key, EVP_sha256(), RSA_PKCS1_PADDING, body + 3, 2);
    char *with = sign(leaf_key, EVP_sha256(), RSA_PKCS1_PADDING, body, 5);
    size_t offset;

    (void)state;
    assert_true(matches(without, certificate, body, 5, &offset));
    assert_int_equal(offset, 3);
    assert_true(matches(with, certificate, body, 5, &offset));
    assert_int_equal(offset, 0);
    free(without);
    free(with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_is_judged_as_it_says),
        cmocka_unit_test(test_header_forms_are_judged),
        cmocka_unit_test(test_overlong_signature_is_malformed),
        cmocka_unit_test(test_certificate_is_judged),
        cmocka_unit_test(test_subject_is_held_to_the_list),
        cmocka_unit_test(test_chain_is_built_from_document_or_intermediates),
        cmocka_unit_test(test_document_is_read_strictly),
        cmocka_unit_test(test_only_the_exact_signature_matches),
        cmocka_unit_test(test_candidates_are_bounded),
        cmocka_unit_test(test_byte_order_mark_may_be_unsigned),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
