#include "ingest/backfill_progress.h"

enum {
    BATCHES_PER_SECOND = 5,
    BATCH_MAX = 100,
    BAR_COLUMNS_MIN = 10,
    BAR_COLUMNS_MAX = 40,
    TEXT_COLUMNS = 60, /* beside the bar */
    MS_PER_SECOND = 1000,
    SECONDS_PER_MINUTE = 60
};

unsigned backfill_percent(const struct backfill_progress *progress)
{
    if (progress->done >= progress->total)
        return 100;
    return (unsigned)(progress->done * 100 / progress->total);
}

int64_t backfill_left_ms(const struct backfill_progress *progress)
{
    const size_t now = progress->done < progress->done_before ? 0 : progress->done - progress->done_before;

    if (progress->done >= progress->total)
        return 0;
    if (now == 0 || progress->elapsed_ms <= 0)
        return -1;
    return (int64_t)(progress->total - progress->done) * progress->elapsed_ms / (int64_t)now;
}

static int append_bar(struct text *out, unsigned percent, unsigned columns)
{
    const unsigned full = columns * percent / 100;

    if (text_append_char(out, '[') < 0)
        return -1;
    for (unsigned i = 0; i < columns; i++) {
        if (text_append_char(out, i < full ? '#' : '-') < 0)
            return -1;
    }
    return text_append(out, "] ");
}

static int append_left(struct text *out, int64_t left_ms)
{
    const int64_t seconds = (left_ms + MS_PER_SECOND - 1) / MS_PER_SECOND;

    if (left_ms <= 0)
        return 0;
    if (seconds < 2 * SECONDS_PER_MINUTE)
        return text_appendf(out, ", %lld s left", (long long)seconds);
    return text_appendf(out, ", %lld min left", (long long)((seconds + SECONDS_PER_MINUTE - 1) / SECONDS_PER_MINUTE));
}

int backfill_progress_text(const struct backfill_progress *progress, unsigned width, struct text *out)
{
    const unsigned percent = backfill_percent(progress);
    unsigned columns = width < TEXT_COLUMNS ? 0 : width - TEXT_COLUMNS;

    if (progress->phase == BACKFILL_LISTING_REFERRALS)
        return text_appendf(out, "Partner Center: %zu referrals listed", progress->done);
    if (progress->phase == BACKFILL_LISTING_ROWS)
        return text_appendf(out, "Dynamics 365: %zu opportunities listed", progress->done);
    if (columns > BAR_COLUMNS_MAX)
        columns = BAR_COLUMNS_MAX;
    if (columns >= BAR_COLUMNS_MIN && append_bar(out, percent, columns) < 0)
        return -1;
    if (text_appendf(out, "%u %%, %zu of %zu records told", percent, progress->done, progress->total) < 0)
        return -1;
    return append_left(out, backfill_left_ms(progress));
}

size_t backfill_batch(int64_t per_second)
{
    const int64_t batch = per_second / BATCHES_PER_SECOND;

    return batch < 1 ? 1 : batch > BATCH_MAX ? BATCH_MAX : (size_t)batch;
}

int64_t backfill_pause_ms(int64_t per_second, size_t records)
{
    return (int64_t)records * MS_PER_SECOND / (per_second < 1 ? 1 : per_second);
}
