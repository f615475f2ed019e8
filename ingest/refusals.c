#include "ingest/refusals.h"

#include "common/base/text.h"

static bool is_same(const struct refusal_kind *a, const struct refusal_kind *b)
{
    return a->status == b->status && text_equal(a->code, b->code) && text_equal(a->detail, b->detail) &&
           text_equal(a->route, b->route);
}

bool refusals_note(struct refusals *refusals, const struct refusal_kind *kind)
{
    static const struct refusal_kind other = {.route = "other", .code = "other"};

    for (size_t i = 0; i < refusals->count; i++) {
        if (is_same(&refusals->kinds[i].kind, kind)) {
            refusals->kinds[i].repeats++;
            return false;
        }
    }
    if (refusals->count == REFUSAL_KINDS_MAX) {
        refusals->kinds[REFUSAL_KINDS_MAX - 1].repeats++;
        return false;
    }
    bool is_last = refusals->count == REFUSAL_KINDS_MAX - 1;
    refusals->kinds[refusals->count].kind = is_last ? other : *kind;
    refusals->kinds[refusals->count].repeats = is_last ? 1 : 0;
    refusals->count++;
    return !is_last;
}

void refusals_close(struct refusals *refusals,
                    void (*tell)(void *arg, const struct refusal_kind *kind, uint64_t repeats), void *arg)
{
    for (size_t i = 0; i < refusals->count; i++) {
        if (refusals->kinds[i].repeats > 0)
            tell(arg, &refusals->kinds[i].kind, refusals->kinds[i].repeats);
    }
    refusals->count = 0;
}
