#include "common/runtime/output.h"

#include "common/runtime/program.h"

void output_text(FILE *stream, const struct text *text)
{
    (void)fwrite(text_string(text), 1, text->length, stream);
    (void)fflush(stream);
}

void output_diagnostics(const struct diagnostics *diagnostics)
{
    struct text out;

    text_init(&out, OUTPUT_MAX);
    if (diagnostics_print(diagnostics, &out) < 0)
        (void)fputs("too many messages to print all of them\n", stderr);
    output_text(stderr, &out);
    text_done(&out);
}

static int end(struct text *out, int written)
{
    if (written == 0)
        output_text(stdout, out);
    text_done(out);
    return written == 0 ? EXIT_OK : EXIT_ERROR;
}

int output_config(const struct config *config)
{
    struct text out;

    text_init(&out, OUTPUT_MAX);
    return end(&out, config_print(config, &out));
}

int output_config_keys(const struct config_section *sections, size_t count)
{
    struct text out;

    text_init(&out, OUTPUT_MAX);
    return end(&out, config_describe(sections, count, &out));
}
