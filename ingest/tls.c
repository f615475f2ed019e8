#include "ingest/tls.h"

#include <openssl/err.h>
#include <string.h>

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                           unsigned in_length, void *arg)
{
    static const unsigned char protocol[] = "\x08http/1.1";
    unsigned char *chosen = NULL;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_length, protocol, sizeof(protocol) - 1, in, in_length) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Keeps OpenSSL from asking for one on a terminal. */
static int no_password(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)arg;
    return 0;
}

static int refuse(const char *file, const char *what, struct error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    error_set(err, ERROR_CONFIG, "serve.tls", "%s: %s: %s", file, what, reason == NULL ? "unusable" : reason);
    ERR_clear_error();
    return -1;
}

static int load(SSL_CTX *context, const char *certificate_file, const char *key_file, struct error *err)
{
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(context, no_password);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1)
        return refuse(certificate_file, "settings", err);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1)
        return refuse(certificate_file, "certificate", err);
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1)
        return refuse(key_file, "private key", err);
    if (SSL_CTX_check_private_key(context) != 1)
        return refuse(key_file, "key and certificate do not belong together", err);
    return 0;
}

int tls_server_context(const char *certificate_file, const char *key_file, SSL_CTX **ret_context, struct error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        return error_no_memory(err);
    if (load(context, certificate_file, key_file, err) < 0) {
        SSL_CTX_free(context);
        return -1;
    }
    *ret_context = context;
    return 0;
}
