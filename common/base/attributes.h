/* Compiler attributes the project relies on, in one place.
 *
 * The only GNU extensions used: cleanup, format, warn_unused_result. Everything else is C17. */
#ifndef TANDEM_BASE_ATTRIBUTES_H
#define TANDEM_BASE_ATTRIBUTES_H

#define TANDEM_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#define TANDEM_MUST_CHECK                           __attribute__((warn_unused_result))

/* AUTO(name): the variable is released by name_auto(&variable) when its scope ends. Release functions accept NULL. */
#define AUTO(name) __attribute__((cleanup(name##_auto)))
#define TANDEM_DEFINE_AUTO(name, type, release)    \
    static inline void name##_auto(type *variable) \
    {                                              \
        release(*variable);                        \
    }

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
