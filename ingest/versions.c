#include "ingest/versions.h"

#include "common/base/json.h"
#include "common/base/text.h"

int versions_init(struct versions *versions, struct error *err)
{
    versions->told = json_object();
    return versions->told == NULL ? error_no_memory(err) : 0;
}

void versions_done(struct versions *versions)
{
    json_decref(versions->told);
    versions->told = NULL;
}

void versions_clear(struct versions *versions)
{
    (void)json_object_clear(versions->told);
}

void versions_note(struct versions *versions, const char *key, const char *etag)
{
    if (json_object_size(versions->told) >= VERSIONS_MAX)
        versions_clear(versions);
    if (etag == NULL || json_object_set_new(versions->told, key, json_string(etag)) < 0)
        (void)json_object_del(versions->told, key);
}

bool versions_is_told(const struct versions *versions, const char *key, const char *etag)
{
    return etag != NULL && text_equal(json_text_of(versions->told, key), etag);
}
