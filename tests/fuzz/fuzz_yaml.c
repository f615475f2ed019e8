/* A text is a tree or has at least one error, and every message can be printed with its place. */
#include <stdint.h>
#include <stdlib.h>

#include "common/base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct text printed;
    text_init(&printed, 1024 * 1024);
    const struct source *source = diagnostics_add_source(&diagnostics, "fuzz.yaml", (const char *)data, size);
    if (source == NULL)
        abort();
    struct yaml_node *node = yaml_parse(&diagnostics, source);
    if ((node == NULL) != (diagnostics.error_count > 0) || diagnostics_print(&diagnostics, &printed) < 0)
        abort();
    yaml_node_free(node);
    text_done(&printed);
    diagnostics_done(&diagnostics);
    return 0;
}
