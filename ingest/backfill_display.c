#include "ingest/backfill_display.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/text.h"
#include "ingest/backfill_report.h"

#define LINE_ANEW "\r\033[K" /* back to the line's begin, which is emptied (ECMA-48 CR, EL) */

enum {
    BAR_INTERVAL_MS = 200,
    LINE_INTERVAL_MS = 5000,
    LINE_COLUMNS_DEFAULT = 80,
    LINE_BYTES_MAX = 512,
    TABLE_BYTES_MAX = 64 * 1024,
    TABLE_LINES_MAX = 100 /* of deals, and of findings */
};

struct backfill_display backfill_display_of(FILE *out, FILE *progress)
{
    return (struct backfill_display){.out = out, .progress = progress, .is_terminal = isatty(fileno(progress)) == 1};
}

int64_t backfill_display_interval_ms(const struct backfill_display *display)
{
    return display->is_terminal ? BAR_INTERVAL_MS : LINE_INTERVAL_MS;
}

static unsigned columns_of(const struct backfill_display *display)
{
    struct winsize size = {0};

    if (!display->is_terminal)
        return 0;
    if (ioctl(fileno(display->progress), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return LINE_COLUMNS_DEFAULT;
    return size.ws_col;
}

void backfill_display_show(const struct backfill_display *display, const struct backfill_progress *progress)
{
    struct text line;

    text_init(&line, LINE_BYTES_MAX);
    if (backfill_progress_text(progress, columns_of(display), &line) == 0)
        (void)fprintf(display->progress, display->is_terminal ? LINE_ANEW "%s" : "%s\n", text_string(&line));
    (void)fflush(display->progress);
    text_done(&line);
}

void backfill_display_keep(const struct backfill_display *display, const struct backfill_progress *progress)
{
    backfill_display_show(display, progress);
    if (display->is_terminal)
        (void)fputc('\n', display->progress);
}

void backfill_display_say(const struct backfill_display *display, const char *text)
{
    (void)fprintf(display->progress, "%s%s\n", display->is_terminal ? LINE_ANEW : "", text);
    (void)fflush(display->progress);
}

void backfill_display_clear(const struct backfill_display *display)
{
    if (display->is_terminal)
        (void)fputs(LINE_ANEW, display->progress);
    (void)fflush(display->progress);
}

int backfill_display_table(const struct backfill_display *display, const struct pairing *pairing, size_t told,
                           bool with_deals, struct error *err)
{
    struct text table;
    int status = 0;

    text_init(&table, TABLE_BYTES_MAX);
    if (backfill_report_table(pairing, told, with_deals, TABLE_LINES_MAX, &table) < 0)
        status = error_no_memory(err);
    else if (fputs(text_string(&table), display->out) < 0 || fflush(display->out) != 0)
        status = error_set(err, ERROR_FATAL, "backfill.output", "the table cannot be written: %s", strerror(errno));
    text_done(&table);
    return status;
}

static int write_lines(const struct pairing *pairing, bool with_deals, FILE *file)
{
    const size_t deal_count = with_deals ? pairing->deal_count : 0;
    struct text line;
    int status = 0;

    text_init(&line, BACKFILL_REPORT_LINE_MAX);
    for (size_t i = 0; i < deal_count + pairing->finding_count && status == 0; i++) {
        text_clear(&line);
        status = i < deal_count ? backfill_report_deal_line(&pairing->deals[i], &line)
                                : backfill_report_line(&pairing->findings[i - deal_count], &line);
        if (status == 0 && fputs(text_string(&line), file) < 0)
            status = -1;
    }
    text_done(&line);
    return status;
}

static int refuse(const char *path, struct error *err)
{
    return error_set(err, ERROR_CONFIG, "backfill.report", "the report '%s' cannot be written: %s", path,
                     strerror(errno));
}

static bool is_directory(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

int backfill_report_check(const char *path, struct error *err)
{
    char *part = path == NULL ? NULL : text_format("%s.part", path);
    FILE *file = NULL;
    int status = 0;

    if (path == NULL)
        return 0;
    if (part == NULL)
        return error_no_memory(err);
    if (is_directory(path)) {
        errno = EISDIR;
        status = refuse(path, err);
    } else if ((file = fopen(part, "we")) == NULL) {
        status = refuse(path, err);
    } else if (fclose(file) != 0 || unlink(part) != 0) {
        status = refuse(path, err);
    }
    free(part);
    return status;
}

int backfill_report_write(const struct pairing *pairing, const char *path, bool with_deals, struct error *err)
{
    char *part = path == NULL ? NULL : text_format("%s.part", path);
    FILE *file;
    int status = -1;

    if (path == NULL)
        return 0;
    if (part == NULL)
        return error_no_memory(err);
    file = fopen(part, "we");
    if (file != NULL) {
        status = write_lines(pairing, with_deals, file);
        if (fclose(file) != 0 || (status == 0 && rename(part, path) != 0))
            status = -1;
    }
    if (status < 0)
        (void)refuse(path, err);
    free(part);
    return status;
}
