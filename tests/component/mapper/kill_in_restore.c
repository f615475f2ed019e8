/* A machine that loses its power while the state is restored: preloaded into a program, it ends the process by SIGKILL
 * when it has read so many messages of the changelog as TANDEM_TEST_KILL_AT_READ says, or is about to do the write to
 * the store whose number TANDEM_TEST_KILL_AT_WRITE names. Both are counted from the start of the process. */
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <lmdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

static void kill_at(const char *variable, long long count)
{
    const char *text = getenv(variable);
    long long at;

    if (text != NULL && text_parse_signed(text, &at) && count == at)
        (void)raise(SIGKILL);
}

/* Changelogs are read by the loop's thread alone, which also writes the store. */
rd_kafka_message_t *rd_kafka_consume_queue(rd_kafka_queue_t *queue, int timeout_ms)
{
    static long long reads;
    rd_kafka_message_t *(*real)(rd_kafka_queue_t *, int);
    void *symbol = dlsym(RTLD_NEXT, "rd_kafka_consume_queue");
    rd_kafka_message_t *message;

    /* Function and object pointers are the same size by POSIX, which ISO C does not say. */
    memcpy(&real, &symbol, sizeof(real));
    message = real(queue, timeout_ms);
    if (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        kill_at("TANDEM_TEST_KILL_AT_READ", ++reads);
    return message;
}

int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags)
{
    static long long writes;
    int (*real)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned int);
    void *symbol = dlsym(RTLD_NEXT, "mdb_put");

    memcpy(&real, &symbol, sizeof(real));
    kill_at("TANDEM_TEST_KILL_AT_WRITE", ++writes);
    return real(txn, dbi, key, data, flags);
}
