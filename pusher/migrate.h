/* The database schema: numbered SQL files (deploy/postgres/), applied in order, each once.
 *
 * The files are part of the program, so that program and schema cannot differ by a forgotten copy. What was applied is
 * kept with its checksum in the table `migrations`; a file that was changed afterwards, or a schema newer than the
 * program, stops everything. Each file is one transaction, and one process migrates at a time.
 * Blocking; a command of its own, never beside the loop. */
#ifndef TANDEM_PUSHER_MIGRATE_H
#define TANDEM_PUSHER_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "pusher/postgres.h"

struct migration {
    unsigned number;
    const char *name; /* "001_roles.sql" */
    const char *sql;
};
/* In the order of their numbers; made from deploy/postgres/ by the build. */
extern const struct migration MIGRATIONS[];
extern const size_t MIGRATION_COUNT;

/* Number of the newest: where the schema has to be at least for this program. */
unsigned migrate_newest(void);

/* `conninfo`: libpq's connection string of somebody who may create roles and schemas; NULL: as in the settings, whose
 * schema and timeouts count in any case. `is_dry_run`: only says what would be done. A line for each file goes to
 * `report`. */
int migrate(const struct postgres_settings *settings, const char *conninfo, bool is_dry_run, struct text *report,
            struct error *err) TANDEM_MUST_CHECK;

#endif
