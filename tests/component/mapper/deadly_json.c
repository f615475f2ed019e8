/* Stands in for a fault that nobody has found yet: preloaded into a program, it ends the process by SIGABRT when a JSON
 * text is parsed that holds the word below. */
#include <dlfcn.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char DEADLY[] = "a-message-that-kills";

json_t *json_loadb(const char *buffer, size_t buflen, size_t flags, json_error_t *error)
{
    json_t *(*real)(const char *, size_t, size_t, json_error_t *);
    void *symbol = dlsym(RTLD_NEXT, "json_loadb");

    /* Function and object pointers are the same size by POSIX, which ISO C does not say. */
    memcpy(&real, &symbol, sizeof(real));
    if (memmem(buffer, buflen, DEADLY, sizeof(DEADLY) - 1) != NULL)
        abort();
    return real(buffer, buflen, flags, error);
}
