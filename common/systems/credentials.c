#include "common/systems/credentials.h"

#include <openssl/crypto.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/seal.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/kafka/reader.h"
#include "common/kafka/topics.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "common/systems/credential.h"

enum {
    SIGN_INS_MAX = 8, /* remembered; an instance with an older configured token would take that for a newer one */
    FINGERPRINT_DIGITS = 16,
    REPEAT_FIRST_MS = 250,
    REPEAT_MAX_MS = 5000
};

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct credentials_settings, member_)
const struct config_key CREDENTIALS_KEYS[] = {
    {KEY("key", CONFIG_SECRET, key), .is_required = true,
     .help = "Key that rotated refresh tokens are sealed with: 32 random bytes as hexadecimal digits or base64."},
};
const size_t CREDENTIALS_KEY_COUNT = ARRAY_LENGTH(CREDENTIALS_KEYS);
#undef KEY

struct account {
    char *name;
    char fingerprint[FINGERPRINT_DIGITS + 1]; /* of the configured token */
    char *latest;        /* value of the last message that was read before the end was reached; opened there */
    char *newest;        /* token of the newest message that counts; NULL: none */
    char *current;       /* token the account is known to use; NULL: the configured one */
    json_t *sign_ins;    /* of the newest message that counts; array of fingerprints, ours included */
    int64_t own_written; /* number of the last message of ours that is in the topic */
    int64_t own_seen;    /* the same, read back */
    struct account *next;
};

/* One token on its way into the topic. */
struct save {
    struct credentials *credentials; /* NULL: freed meanwhile, `done` has been called */
    struct account *account;
    int64_t number;
    char *token;
    char *value; /* the message */
    size_t value_length;
    int64_t pause_ms; /* before the next attempt, should this one fail */
    struct loop_timer *repeat;
    void (*done)(void *done_arg, bool is_saved);
    void *done_arg;
    struct save *previous, *next;
};

struct credentials {
    struct loop *loop;
    struct producer *producer;
    struct reader *reader;
    struct credentials_callbacks callbacks;
    void *arg;
    char *topic;
    uint8_t key[SEAL_KEY_SIZE];
    char writer[UUID_TEXT_SIZE]; /* this process, among all that write */
    int64_t last_number;
    bool is_loaded;
    bool has_failed;
    struct account *accounts;
    struct save *saves;
    struct metric *saves_metric;
};

static void forget_secret(char **secret)
{
    if (*secret == NULL)
        return;
    OPENSSL_cleanse(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

static void fail(struct credentials *credentials, const struct error *err)
{
    if (credentials->has_failed)
        return;
    credentials->has_failed = true;
    credentials->callbacks.on_failed(credentials->arg, err);
}

static struct account *find_account(const struct credentials *credentials, const char *name, size_t length)
{
    struct account *account = credentials->accounts;

    while (account != NULL && !(strlen(account->name) == length && memcmp(account->name, name, length) == 0))
        account = account->next;
    return account;
}

static bool names_sign_in(const json_t *sign_ins, const char *fingerprint)
{
    for (size_t i = 0; i < json_array_size(sign_ins); i++) {
        if (text_equal(json_string_value(json_array_get(sign_ins, i)), fingerprint))
            return true;
    }
    return false;
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

/* Messages of others that were read before ours of a later offset are older than the token we use; and one of ours that
 * was read before its delivery was reported is told by that. */
static void tell_newest(struct credentials *credentials, struct account *account)
{
    if (!credentials->is_loaded || account->newest == NULL || account->own_seen != account->own_written ||
        text_equal(account->newest, account->current))
        return;
    forget_secret(&account->current);
    account->current = text_copy(account->newest);
    credentials->callbacks.on_token(credentials->arg, account->name, account->newest);
}

static int take_value(struct credentials *credentials, struct account *account, const char *value, size_t length,
                      struct error *err)
{
    struct credential credential;
    bool is_own, is_ours;

    if (credential_read(credentials->key, account->name, value, length, &credential, err) < 0)
        return -1;
    is_own = text_equal(credential.writer, credentials->writer);
    is_ours = names_sign_in(credential.sign_ins, account->fingerprint);
    /* Of an older sign-in: to be named by our own messages, so that those who know only it take ours over. */
    if (is_ours || json_array_size(account->sign_ins) == 0) {
        json_decref(account->sign_ins);
        account->sign_ins = json_incref(credential.sign_ins);
    }
    if (is_ours) {
        forget_secret(&account->newest);
        account->newest = credential.refresh_token;
        credential.refresh_token = NULL;
        if (is_own)
            account->own_seen = credential.number;
        log_info("credentials.read", LOG_TEXT("account", account->name), LOG_BOOLEAN("own", is_own));
    } else {
        log_info("credentials.older_sign_in", LOG_TEXT("account", account->name));
    }
    credential_done(&credential);
    return 0;
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct credentials *credentials = arg;
    struct account *account =
        message->key == NULL ? NULL : find_account(credentials, message->key, message->key_length);
    struct error err = ERROR_INIT;

    /* Without a value: the account was taken out by hand, and its configured token counts at the next start. */
    if (account == NULL)
        return;
    if (!credentials->is_loaded) {
        free(account->latest);
        account->latest = message->value == NULL ? NULL : text_copy_n(message->value, message->value_length);
        return;
    }
    if (message->value == NULL)
        return;
    if (take_value(credentials, account, message->value, message->value_length, &err) < 0)
        fail(credentials, &err);
    else
        tell_newest(credentials, account);
}

static void on_end(void *arg, int32_t partition, int64_t next_offset)
{
    struct credentials *credentials = arg;
    struct error err = ERROR_INIT;

    (void)partition;
    (void)next_offset;
    credentials->is_loaded = true;
    for (struct account *account = credentials->accounts; account != NULL; account = account->next) {
        char *latest = account->latest;
        int status = 0;

        account->latest = NULL;
        if (latest != NULL)
            status = take_value(credentials, account, latest, strlen(latest), &err);
        free(latest);
        if (status < 0) {
            fail(credentials, &err);
            return;
        }
        tell_newest(credentials, account);
    }
    credentials->callbacks.on_loaded(credentials->arg);
}

static void on_reader_failed(void *arg, const struct error *err)
{
    struct credentials *credentials = arg;
    struct error wrapped = *err;

    (void)error_wrap(&wrapped, "credentials");
    fail(credentials, &wrapped);
}

/* --- Writing ------------------------------------------------------------------------------------------------------ */

static void save_free(struct save *save)
{
    if (save->credentials != NULL) {
        if (save->previous != NULL)
            save->previous->next = save->next;
        else
            save->credentials->saves = save->next;
        if (save->next != NULL)
            save->next->previous = save->previous;
    }
    loop_timer_free(save->repeat);
    forget_secret(&save->token);
    free(save->value);
    free(save);
}

static void send_save(struct save *save);

static void on_repeat(void *arg)
{
    send_save(arg);
}

static void repeat_later(struct save *save, const struct error *err)
{
    struct credentials *credentials = save->credentials;

    metric_count(credentials->saves_metric, "failed", NULL, NULL, NULL);
    log_warning("credentials.save_failed", LOG_TEXT("account", save->account->name), LOG_ERROR(err));
    loop_timer_set(save->repeat, save->pause_ms);
    if (save->pause_ms < REPEAT_MAX_MS)
        save->pause_ms *= 2;
}

static void on_delivered(void *arg, const struct error *err)
{
    struct save *save = arg;
    struct credentials *credentials = save->credentials;
    struct account *account = save->account;

    if (credentials == NULL) {
        save_free(save);
        return;
    }
    if (err != NULL) {
        repeat_later(save, err);
        return;
    }
    metric_count(credentials->saves_metric, "saved", NULL, NULL, NULL);
    log_info("credentials.saved", LOG_TEXT("account", account->name));
    if (save->number > account->own_written)
        account->own_written = save->number;
    forget_secret(&account->current);
    account->current = save->token;
    save->token = NULL;
    save->done(save->done_arg, true);
    save_free(save);
    tell_newest(credentials, account);
}

static void send_save(struct save *save)
{
    struct credentials *credentials = save->credentials;
    struct kafka_message message = {.topic = credentials->topic,
                                    .key = save->account->name,
                                    .key_length = strlen(save->account->name),
                                    .value = save->value,
                                    .value_length = save->value_length};
    struct error err = ERROR_INIT;

    kafka_message_add_header(&message, "content-type", "application/json");
    if (producer_send(credentials->producer, &message, on_delivered, save, &err) < 0)
        repeat_later(save, &err);
}

/* The sign-ins a message of ours comes after: those of the newest one, and ours. New reference. */
static json_t *sign_ins_of(const struct account *account)
{
    json_t *sign_ins = account->sign_ins == NULL ? json_array() : json_deep_copy(account->sign_ins);

    if (sign_ins != NULL && !names_sign_in(sign_ins, account->fingerprint) &&
        json_array_append_new(sign_ins, json_string(account->fingerprint)) < 0) {
        json_decref(sign_ins);
        return NULL;
    }
    while (json_array_size(sign_ins) > SIGN_INS_MAX)
        (void)json_array_remove(sign_ins, 0);
    return sign_ins;
}

/* The message that holds `token`; NULL: out of memory, or no token that could be sealed. */
static char *write_value(const struct credentials *credentials, const struct save *save, char *token,
                         size_t *ret_length)
{
    json_auto_t *sign_ins = sign_ins_of(save->account);
    char *writer = text_copy(credentials->writer);
    const struct credential credential = {
        .refresh_token = token, .sign_ins = sign_ins, .writer = writer, .number = save->number};
    uint8_t nonce[SEAL_NONCE_SIZE];
    char now[TIMESTAMP_TEXT_SIZE];
    char *value = NULL;

    random_fill(nonce, sizeof(nonce));
    if (token != NULL && sign_ins != NULL && writer != NULL)
        value = credential_write(credentials->key, nonce, save->account->name, &credential,
                                 timestamp_format(clock_now(), 3, now), ret_length);
    free(writer);
    return value;
}

static struct save *save_new(struct credentials *credentials, struct account *account, const char *token)
{
    struct save *save = calloc(1, sizeof(*save));

    if (save == NULL)
        return NULL;
    save->account = account;
    save->number = ++credentials->last_number;
    save->token = text_copy(token);
    save->pause_ms = REPEAT_FIRST_MS;
    save->repeat = loop_timer_new(credentials->loop, on_repeat, save);
    save->value = write_value(credentials, save, save->token, &save->value_length);
    if (save->token == NULL || save->repeat == NULL || save->value == NULL) {
        save_free(save);
        return NULL;
    }
    save->credentials = credentials;
    save->next = credentials->saves;
    if (save->next != NULL)
        save->next->previous = save;
    credentials->saves = save;
    return save;
}

void credentials_save(void *arg, const char *account_name, const char *refresh_token,
                      void (*done)(void *done_arg, bool is_saved), void *done_arg)
{
    struct credentials *credentials = arg;
    struct account *account = find_account(credentials, account_name, strlen(account_name));
    struct save *save = account == NULL ? NULL : save_new(credentials, account, refresh_token);

    if (save == NULL) {
        log_error("credentials.not_saved", LOG_TEXT("account", account_name));
        done(done_arg, false);
        return;
    }
    save->done = done;
    save->done_arg = done_arg;
    send_save(save);
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

void credentials_validate(const struct config_section *section, const struct yaml_node *node,
                          struct diagnostics *diagnostics)
{
    const struct credentials_settings *settings = section->target;
    const struct yaml_node *place = yaml_get(node, "key");
    uint8_t key[SEAL_KEY_SIZE];
    struct error err = ERROR_INIT;

    if (settings->key.bytes == NULL)
        return;
    if (seal_key_parse(settings->key.bytes, key, &err) < 0)
        (void)diagnostics_error(diagnostics, place != NULL ? place->position : node->position, "%s.key: %s",
                                section->name, err.message);
    OPENSSL_cleanse(key, sizeof(key));
}

static int add_account(struct credentials *credentials, const struct credentials_account *wanted, struct error *err)
{
    struct account *account = calloc(1, sizeof(*account));
    char *seed = text_format("tandem.sign-in/%s/%s", wanted->name, wanted->first_token);
    char digest[SHA256_HEX_SIZE];
    int status = -1;

    if (account == NULL || seed == NULL || (account->name = text_copy(wanted->name)) == NULL ||
        sha256_hex(seed, strlen(seed), digest) == NULL) {
        if (account != NULL)
            free(account->name);
        free(account);
        (void)error_no_memory(err);
    } else {
        memcpy(account->fingerprint, digest, FINGERPRINT_DIGITS);
        account->next = credentials->accounts;
        credentials->accounts = account;
        status = 0;
    }
    forget_secret(&seed);
    return status;
}

static int open_topic(struct credentials *credentials, const struct kafka_settings *kafka, const char *instance,
                      struct error *err)
{
    static const struct reader_callbacks callbacks = {
        .on_message = on_message, .on_end = on_end, .on_failed = on_reader_failed};

    credentials->topic = kafka_topic_name(kafka, TOPIC_CREDENTIALS);
    if (credentials->topic == NULL)
        return error_no_memory(err);
    if (reader_new(credentials->loop, kafka, TOPIC_CREDENTIALS, instance, &callbacks, credentials, &credentials->reader,
                   err) < 0)
        return -1;
    return reader_add(credentials->reader, 0, -1, true, err);
}

int credentials_new(struct loop *loop, const struct kafka_settings *kafka, const struct credentials_settings *settings,
                    const char *instance, struct producer *producer, const struct credentials_account *accounts,
                    size_t account_count, const struct credentials_callbacks *callbacks, void *arg,
                    struct credentials **ret_credentials, struct error *err)
{
    struct credentials *credentials = calloc(1, sizeof(*credentials));
    uint8_t random[16];

    if (credentials == NULL)
        return error_no_memory(err);
    credentials->loop = loop;
    credentials->producer = producer;
    credentials->callbacks = *callbacks;
    credentials->arg = arg;
    credentials->saves_metric = metrics_declare(METRIC_COUNTER, "tandem_credentials_saves_total", "result",
                                                "Rotated refresh tokens written to Kafka.");
    random_fill(random, sizeof(random));
    (void)uuid_from_random(random, credentials->writer);
    if (seal_key_parse(settings->key.bytes, credentials->key, err) < 0)
        goto out;
    for (size_t i = 0; i < account_count; i++) {
        if (add_account(credentials, &accounts[i], err) < 0)
            goto out;
    }
    if (open_topic(credentials, kafka, instance, err) < 0)
        goto out;
    *ret_credentials = credentials;
    return 0;
out:
    credentials_free(credentials);
    return error_wrap(err, "credentials");
}

void credentials_free(struct credentials *credentials)
{
    if (credentials == NULL)
        return;
    while (credentials->saves != NULL) {
        struct save *save = credentials->saves;
        bool is_sent = !loop_timer_is_set(save->repeat);

        credentials->saves = save->next;
        if (save->next != NULL)
            save->next->previous = NULL;
        save->credentials = NULL;
        save->done(save->done_arg, false);
        /* Under way: the producer still has it, and its last callback frees it. */
        if (!is_sent)
            save_free(save);
    }
    reader_free(credentials->reader);
    while (credentials->accounts != NULL) {
        struct account *account = credentials->accounts;

        credentials->accounts = account->next;
        free(account->name);
        free(account->latest);
        forget_secret(&account->newest);
        forget_secret(&account->current);
        json_decref(account->sign_ins);
        free(account);
    }
    OPENSSL_cleanse(credentials->key, sizeof(credentials->key));
    free(credentials->topic);
    free(credentials);
}
