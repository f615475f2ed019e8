#include "ingest/certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/text.h"
#include "common/http/client.h"
#include "common/runtime/log.h"
#include "ingest/certificate_url.h"

enum {
    PINNED_MAX = 16,
    ENTRIES_MAX = 16, /* URLs remembered at a time */
    DOWNLOAD_TIMEOUT_MS = 3000,
    BUNDLE_MAX_BYTES = 4 * 1024 * 1024,
    MINUTE_MS = 60 * 1000
};

#define KEY_AS(name_, member_, type_, ...)                                                                       \
    {                                                                                                            \
        .name = (name_), .type = (type_), .offset = offsetof(struct certificates_settings, member_), __VA_ARGS__ \
    }
#define KEY(member_, type_, ...) KEY_AS(#member_, member_, type_, __VA_ARGS__)

const struct config_key CERTIFICATES_KEYS[] = {
    KEY(trusted_roots, CONFIG_PATH,
        .help = "PEM file of the roots a signing certificate must lead to; the system's if absent."),
    KEY(intermediates, CONFIG_PATH,
        .help = "PEM file of intermediate certificates, for senders that give the leaf only."),
    KEY(pinned_certificates, CONFIG_PATH_LIST,
        .help = "Files (DER or PEM) of the only signing certificates accepted; with any, none is ever downloaded."),
    KEY(certificate_urls, CONFIG_LIST, .default_text = "[\"https://3psostorageacct.blob.core.windows.net/cert/\"]",
        .help = "What the URL of a signing certificate must begin with, compared byte for byte; ends with a slash."),
    KEY(issuer_organization, CONFIG_TEXT, .default_text = "Microsoft Corporation",
        .help = "O of the signing certificate's issuer, exactly."),
    KEY(subject_names, CONFIG_LIST, .help = "Common or DNS names the signing certificate may have; any if absent."),
    KEY(download_ca_file, CONFIG_PATH,
        .help = "PEM file to verify the download's server with; the system's if absent."),
    KEY(allow_private_addresses, CONFIG_BOOLEAN, .default_text = "false",
        .help = "Lets certificates be downloaded from private and loopback addresses; for tests."),
    KEY_AS("certificate_lifetime", certificate_lifetime_ms, CONFIG_DURATION, .default_text = "6h", .min = MINUTE_MS,
           .max = 7 * 24 * 60 * MINUTE_MS,
           .help = "How long a downloaded certificate is used before it is downloaded anew."),
    KEY_AS("failure_lifetime", failure_lifetime_ms, CONFIG_DURATION, .default_text = "60s", .min = 1000,
           .max = 60 * MINUTE_MS,
           .help = "How long a failed download, or a second look after a wrong signature, is not repeated."),
    KEY(downloads_per_minute, CONFIG_INTEGER, .default_text = "10", .min = 1, .max = 600,
        .help = "Most downloads of certificates a minute, all URLs together."),
};
const size_t CERTIFICATES_KEY_COUNT = ARRAY_LENGTH(CERTIFICATES_KEYS);

/* One request that waits for its verdict. */
struct judgement {
    struct certificates *certificates;
    struct signature signature;
    const char *body;
    size_t length;
    certificates_callback on_verdict;
    void *arg;
    struct judgement *next;
};

/* What is known of a URL. */
struct entry {
    struct certificates *certificates;
    char *url;
    struct signing_certificate *certificate; /* NULL: none */
    int64_t fetched_ms;                      /* last success */
    int64_t tried_ms;                        /* last try */
    int64_t used_ms;
    bool is_fetching;
    struct judgement *waiting;
};

struct certificates {
    struct loop *loop;
    const struct certificates_settings *settings;
    struct signing_policy policy;
    struct signing_certificate *pinned[PINNED_MAX];
    size_t pinned_count;
    struct http_client *client; /* NULL in pinned mode */
    struct entry entries[ENTRIES_MAX];
    int64_t allowance; /* downloads left, in 1/60000 */
    int64_t allowance_ms;
};

void certificates_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                    struct diagnostics *diagnostics)
{
    const struct certificates_settings *settings = section->target;
    const struct position nowhere = {0};

    (void)node;
    if (settings->issuer_organization == NULL) /* the section is absent, and so is the role */
        return;
    for (size_t i = 0; i < settings->certificate_urls.count; i++)
        if (!certificate_url_prefix_is_sound(settings->certificate_urls.items[i]))
            diagnostics_error(diagnostics, nowhere, "%s.certificate_urls: '%s' is not of the form https://host/path/",
                              section->name, settings->certificate_urls.items[i]);
    if (settings->pinned_certificates.count > PINNED_MAX)
        diagnostics_error(diagnostics, nowhere, "%s.pinned_certificates: more than %d", section->name, PINNED_MAX);
    if (settings->certificate_urls.count == 0)
        diagnostics_error(diagnostics, nowhere, "%s.certificate_urls is empty", section->name);
}

/* --- Files --- */

static int read_file(const char *path, struct text *out, struct error *err)
{
    char bytes[4096];
    ssize_t count = -1;
    int result = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return error_set(err, ERROR_CONFIG, "signature.file", "%s: %s", path, strerror(errno));
    while ((count = read(fd, bytes, sizeof(bytes))) > 0)
        if (text_append_n(out, bytes, (size_t)count) < 0)
            break;
    if (count < 0)
        error_set(err, ERROR_CONFIG, "signature.file", "%s: %s", path, strerror(errno));
    else if (count > 0)
        error_set(err, ERROR_CONFIG, "signature.file", "%s: too large", path);
    else
        result = 0;
    close(fd);
    return result;
}

static int read_bundle(const char *path, STACK_OF(X509) * stack, struct error *err)
{
    struct text content;
    text_init(&content, BUNDLE_MAX_BYTES);
    if (read_file(path, &content, err) < 0) {
        text_done(&content);
        return -1;
    }
    BIO *bio = BIO_new_mem_buf(text_string(&content), (int)content.length);
    char no_password[] = ""; /* keeps OpenSSL from asking for one on a terminal */
    X509 *certificate = NULL;
    while (bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, NULL, no_password)) != NULL) {
        if (sk_X509_push(stack, certificate) <= 0) {
            X509_free(certificate);
            break;
        }
    }
    BIO_free(bio);
    text_done(&content);
    ERR_clear_error();
    if (sk_X509_num(stack) == 0)
        return error_set(err, ERROR_CONFIG, "signature.file", "%s: no PEM certificate in it", path);
    return 0;
}

static int load_roots(struct certificates *certificates, struct error *err)
{
    int result = -1;
    STACK_OF(X509) *roots = sk_X509_new_null();

    certificates->policy.roots = X509_STORE_new();
    if (roots == NULL || certificates->policy.roots == NULL) {
        error_no_memory(err);
        goto out;
    }
    if (certificates->settings->trusted_roots == NULL) {
        result = X509_STORE_set_default_paths(certificates->policy.roots) == 1
                     ? 0
                     : error_set(err, ERROR_CONFIG, "signature.roots", "the system's trusted certificates: not found");
        goto out;
    }
    if (read_bundle(certificates->settings->trusted_roots, roots, err) < 0)
        goto out;
    for (int i = 0; i < sk_X509_num(roots); i++) {
        if (X509_STORE_add_cert(certificates->policy.roots, sk_X509_value(roots, i)) != 1) {
            error_no_memory(err);
            goto out;
        }
    }
    result = 0;
out:
    sk_X509_pop_free(roots, X509_free);
    ERR_clear_error();
    return result;
}

static int load_pinned(struct certificates *certificates, struct error *err)
{
    const struct config_list *files = &certificates->settings->pinned_certificates;
    struct text content;

    for (size_t i = 0; i < files->count && i < PINNED_MAX; i++) {
        text_init(&content, SIGNING_DOCUMENT_MAX_BYTES);
        if (read_file(files->items[i], &content, err) < 0) {
            text_done(&content);
            return -1;
        }
        certificates->pinned[i] = signing_certificate_read(text_string(&content), content.length);
        text_done(&content);
        if (certificates->pinned[i] == NULL)
            return error_set(err, ERROR_CONFIG, "signature.file", "%s: no certificate", files->items[i]);
        certificates->pinned_count++;
    }
    return 0;
}

/* --- Life --- */

static int load(struct certificates *certificates, struct error *err)
{
    const struct certificates_settings *settings = certificates->settings;
    const struct http_client_settings client = {
        .ca_file = settings->download_ca_file,
        .connect_timeout_ms = DOWNLOAD_TIMEOUT_MS,
        .total_timeout_ms = DOWNLOAD_TIMEOUT_MS,
        .response_max_bytes = SIGNING_DOCUMENT_MAX_BYTES,
        .response_headers_max_bytes = SIGNING_DOCUMENT_MAX_BYTES,
        .concurrent_max = 2,
        .queued_max = ENTRIES_MAX,
        .refuse_private_addresses = !settings->allow_private_addresses,
    };

    if (load_roots(certificates, err) < 0)
        return error_wrap(err, "trusted_roots");
    if (settings->intermediates != NULL) {
        certificates->policy.intermediates = sk_X509_new_null();
        if (certificates->policy.intermediates == NULL)
            return error_no_memory(err);
        if (read_bundle(settings->intermediates, certificates->policy.intermediates, err) < 0)
            return error_wrap(err, "intermediates");
    }
    if (load_pinned(certificates, err) < 0)
        return error_wrap(err, "pinned_certificates");
    if (certificates->pinned_count > 0)
        return 0;
    return http_client_new(certificates->loop, &client, &certificates->client, err);
}

int certificates_new(struct loop *loop, const struct certificates_settings *settings,
                     struct certificates **ret_certificates, struct error *err)
{
    struct certificates *certificates = calloc(1, sizeof(*certificates));
    if (certificates == NULL)
        return error_no_memory(err);
    certificates->loop = loop;
    certificates->settings = settings;
    certificates->policy.issuer_organization = settings->issuer_organization;
    certificates->policy.subject_names = (const char *const *)settings->subject_names.items;
    certificates->policy.subject_name_count = settings->subject_names.count;
    certificates->allowance = settings->downloads_per_minute * MINUTE_MS;
    certificates->allowance_ms = clock_monotonic_ms();
    if (load(certificates, err) < 0) {
        certificates_free(certificates);
        return -1;
    }
    *ret_certificates = certificates;
    return 0;
}

void certificates_free(struct certificates *certificates)
{
    if (certificates == NULL)
        return;
    /* Ends downloads under way, and with them every request that waits. */
    http_client_free(certificates->client);
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        free(certificates->entries[i].url);
        signing_certificate_free(certificates->entries[i].certificate);
    }
    for (size_t i = 0; i < certificates->pinned_count; i++)
        signing_certificate_free(certificates->pinned[i]);
    X509_STORE_free(certificates->policy.roots);
    sk_X509_pop_free(certificates->policy.intermediates, X509_free);
    free(certificates);
}

/* --- Judging --- */

static void finish(struct judgement *judgement, enum signature_verdict verdict, const char *detail, size_t offset)
{
    judgement->on_verdict(judgement->arg, verdict, detail, offset);
    free(judgement);
}

static enum signature_verdict try_certificate(const struct certificates *certificates,
                                              const struct signing_certificate *certificate,
                                              const struct judgement *judgement, const char **ret_detail,
                                              size_t *ret_offset)
{
    *ret_detail = "mismatch";
    if (!signature_matches(&judgement->signature, certificate, judgement->body, judgement->length, ret_offset))
        return SIGNATURE_MISMATCH;
    if (!signing_certificate_is_acceptable(certificate, &certificates->policy, clock_now().seconds, ret_detail))
        return SIGNATURE_CERTIFICATE;
    return SIGNATURE_VALID;
}

static void judge_pinned(struct judgement *judgement)
{
    const struct certificates *certificates = judgement->certificates;
    enum signature_verdict verdict = SIGNATURE_MISMATCH;
    const char *detail = "mismatch";
    size_t offset = 0;

    for (size_t i = 0; i < certificates->pinned_count && verdict != SIGNATURE_VALID; i++) {
        enum signature_verdict one =
            try_certificate(certificates, certificates->pinned[i], judgement, &detail, &offset);
        if (one != SIGNATURE_MISMATCH)
            verdict = one;
    }
    finish(judgement, verdict, verdict == SIGNATURE_MISMATCH ? "mismatch" : detail, offset);
}

/* --- Downloads --- */

static bool take_allowance(struct certificates *certificates, int64_t now_ms)
{
    const int64_t full = certificates->settings->downloads_per_minute * MINUTE_MS;
    certificates->allowance += (now_ms - certificates->allowance_ms) * certificates->settings->downloads_per_minute;
    certificates->allowance_ms = now_ms;
    if (certificates->allowance > full)
        certificates->allowance = full;
    if (certificates->allowance < MINUTE_MS)
        return false;
    certificates->allowance -= MINUTE_MS;
    return true;
}

static void on_downloaded(void *arg, const struct http_response *response)
{
    struct entry *entry = arg;
    struct judgement *waiting = entry->waiting;
    struct signing_certificate *certificate = NULL;

    entry->waiting = NULL;
    entry->is_fetching = false;
    if (response->result == HTTP_ANSWERED && response->status == 200)
        certificate = signing_certificate_read(response->body, response->body_length);
    if (certificate != NULL) {
        signing_certificate_free(entry->certificate);
        entry->certificate = certificate;
        entry->fetched_ms = clock_monotonic_ms();
    } else if (response->result != HTTP_CANCELLED) {
        log_warning("serve.certificate_unavailable", LOG_TEXT("url", entry->url),
                    LOG_INTEGER("status", response->status), LOG_TEXT("error_code", response->error.code));
    }
    while (waiting != NULL) {
        struct judgement *next = waiting->next;
        const char *detail = "unavailable";
        size_t offset = 0;
        enum signature_verdict verdict = SIGNATURE_CERTIFICATE_MISSING;
        if (entry->certificate != NULL)
            verdict = try_certificate(entry->certificates, entry->certificate, waiting, &detail, &offset);
        finish(waiting, verdict, detail, offset);
        waiting = next;
    }
}

/* False when it may not or cannot be fetched now; otherwise its end judges what waits. */
static bool fetch(struct entry *entry, int64_t now_ms)
{
    struct certificates *certificates = entry->certificates;
    const struct http_request request = {.method = HTTP_GET, .url = entry->url};

    if (entry->is_fetching)
        return true;
    if (entry->tried_ms > 0 && now_ms - entry->tried_ms < certificates->settings->failure_lifetime_ms)
        return false;
    if (!take_allowance(certificates, now_ms))
        return false;
    entry->tried_ms = now_ms;
    entry->is_fetching = http_send(certificates->client, &request, on_downloaded, entry, NULL) == 0;
    return entry->is_fetching;
}

/* Names that somebody makes up must not push out a certificate that is in use. */
static bool goes_before(const struct entry *a, const struct entry *b)
{
    if ((a->certificate == NULL) != (b->certificate == NULL))
        return a->certificate == NULL;
    return a->used_ms < b->used_ms;
}

/* The entry of the URL; a new one takes the place of one without certificate, or the one longest unused. NULL when
 * all are being fetched. */
static struct entry *entry_of(struct certificates *certificates, const char *url)
{
    struct entry *oldest = NULL;
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *entry = &certificates->entries[i];
        if (entry->url != NULL && strcmp(entry->url, url) == 0)
            return entry;
        if (!entry->is_fetching && (oldest == NULL || goes_before(entry, oldest)))
            oldest = entry;
    }
    char *copy = text_copy(url);
    if (oldest == NULL || copy == NULL) {
        free(copy);
        return NULL;
    }
    free(oldest->url);
    signing_certificate_free(oldest->certificate);
    *oldest = (struct entry){.certificates = certificates, .url = copy};
    return oldest;
}

static void judge_fetched(struct judgement *judgement)
{
    struct certificates *certificates = judgement->certificates;
    struct entry *entry = entry_of(certificates, judgement->signature.certificate_url);
    enum signature_verdict verdict = SIGNATURE_CERTIFICATE_MISSING;
    const char *detail = "unavailable";
    size_t offset = 0;

    if (entry != NULL) {
        int64_t now_ms = clock_monotonic_ms();
        entry->used_ms = now_ms;
        bool is_stale =
            entry->certificate == NULL || now_ms - entry->fetched_ms >= certificates->settings->certificate_lifetime_ms;
        if (entry->certificate != NULL)
            verdict = try_certificate(certificates, entry->certificate, judgement, &detail, &offset);
        /* One that still does its work stays in use while it cannot be renewed. */
        if ((verdict != SIGNATURE_VALID || is_stale) && fetch(entry, now_ms)) {
            judgement->next = entry->waiting;
            entry->waiting = judgement;
            return;
        }
    }
    finish(judgement, verdict, detail, offset);
}

void certificates_judge(struct certificates *certificates, const struct request_field *fields, size_t field_count,
                        const char *body, size_t length, certificates_callback on_verdict, void *arg)
{
    struct judgement *judgement = calloc(1, sizeof(*judgement));
    if (judgement == NULL) {
        on_verdict(arg, SIGNATURE_CERTIFICATE_MISSING, "out_of_memory", 0);
        return;
    }
    judgement->certificates = certificates;
    judgement->body = body;
    judgement->length = length;
    judgement->on_verdict = on_verdict;
    judgement->arg = arg;

    const struct config_list *prefixes = &certificates->settings->certificate_urls;
    enum signature_verdict verdict = signature_read(fields, field_count, &judgement->signature);
    const char *url = judgement->signature.certificate_url;
    if (verdict == SIGNATURE_VALID &&
        (url == NULL || !certificate_url_is_allowed(url, (const char *const *)prefixes->items, prefixes->count)))
        verdict = SIGNATURE_CERTIFICATE_URL;
    if (verdict != SIGNATURE_VALID)
        finish(judgement, verdict, signature_verdict_name(verdict), 0);
    else if (certificates->pinned_count > 0)
        judge_pinned(judgement);
    else
        judge_fetched(judgement);
}
