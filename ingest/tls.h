/* The server's side of TLS: a context from files, 1.2 or newer, HTTP/1.1 only.
 *
 * No renegotiation, no session tickets, no compression, security level of the library. Blocking reads of two files;
 * start-up and SIGHUP only. */
#ifndef TANDEM_INGEST_TLS_H
#define TANDEM_INGEST_TLS_H

#include <openssl/ssl.h>

#include "common/base/error.h"

/* ERROR_CONFIG names the file. SSL_CTX_free() the context. */
int tls_server_context(const char *certificate_file, const char *key_file, SSL_CTX **ret_context, struct error *err)
    TANDEM_MUST_CHECK;

#endif
