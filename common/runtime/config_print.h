/* The configuration in effect, as YAML that can be loaded again. Part of config.c; programs use config_print(). */
#ifndef TANDEM_RUNTIME_CONFIG_PRINT_H
#define TANDEM_RUNTIME_CONFIG_PRINT_H

#include "common/runtime/config.h"

/* `is_present`: parallel to `sections`; the others are left out. -1 when `out` is full. */
int config_print_sections(const struct config_section *sections, const bool *is_present, size_t count, struct text *out)
    TANDEM_MUST_CHECK;

#endif
