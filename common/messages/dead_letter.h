/* Topic `dead-letters`: a message that cannot be processed, byte for byte, with the reason in its headers.
 *
 * Only the names of the headers that are added beside the original ones, which are kept. See kafka/dead_letter.h. */
#ifndef TANDEM_MESSAGES_DEAD_LETTER_H
#define TANDEM_MESSAGES_DEAD_LETTER_H

#define DEAD_LETTER_PREFIX "err." /* of all of them */

#define DEAD_LETTER_TOPIC     "err.topic" /* origin, full name; absent for a request that never was a message */
#define DEAD_LETTER_PARTITION "err.partition"
#define DEAD_LETTER_OFFSET    "err.offset"
#define DEAD_LETTER_STAGE     "err.stage" /* "serve", "fetch", "mapper", "pusher" */
#define DEAD_LETTER_CLASS     "err.class"
#define DEAD_LETTER_CODE      "err.code"
#define DEAD_LETTER_CODE_TEST "test_event"  /* a validation event: told to the audit this way, and no failure */
#define DEAD_LETTER_MESSAGE   "err.message" /* without personal data */
#define DEAD_LETTER_ATTEMPTS  "err.attempts"
#define DEAD_LETTER_TIME      "err.time"
#define DEAD_LETTER_VERSION   "err.version" /* of the program */

/* On a message that a person has driven again (tandem-pusher redrive); its other headers are as they first were. */
#define REDRIVE_LETTER "redrive.letter" /* "tandem.dead-letters/0/17": topic, partition and offset of the letter */
#define REDRIVE_TIME   "redrive.time"

#endif
