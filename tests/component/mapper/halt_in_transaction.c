/* A machine that freezes at the worst moment: preloaded into a program, it stops the process by SIGSTOP when a
 * transaction has written everything and is about to send its offsets, once, if the file that TANDEM_TEST_HALT names is
 * there. The file is taken away by that. */
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

rd_kafka_error_t *rd_kafka_send_offsets_to_transaction(rd_kafka_t *producer,
                                                       const rd_kafka_topic_partition_list_t *offsets,
                                                       const rd_kafka_consumer_group_metadata_t *group, int timeout_ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *,
                              const rd_kafka_consumer_group_metadata_t *, int);
    void *symbol = dlsym(RTLD_NEXT, "rd_kafka_send_offsets_to_transaction");
    const char *order = getenv("TANDEM_TEST_HALT");

    /* Function and object pointers are the same size by POSIX, which ISO C does not say. */
    memcpy(&real, &symbol, sizeof(real));
    if (order != NULL && unlink(order) == 0)
        (void)raise(SIGSTOP);
    return real(producer, offsets, group, timeout_ms);
}
