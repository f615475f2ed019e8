#include "mapper/refusal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/text.h"

enum { PATH_SIZE = 128, TEXT_BYTES_MAX = 1024 };

#define STORY "an administrator finds the deal's story in Tandem's audit under {deal}."
#define STEP                                                                                                           \
    "Partner Center does not allow this step of the deal's life. A deal that is won, lost, declined or expired there " \
    "stays so; make a new opportunity to go on."
#define ASK "Ask your administrator, who finds the deal's story in Tandem's audit under {deal}."

/* The codes of Partner Center are those its errors stand for (Referrals API response codes); of the CRM's, those of the
 * Dataverse web service. Limits and forms: the resources of the Referrals API. */
const struct refusal_row REFUSAL_ROWS[] = {
    {"partner_center.refused", "customerProfile.address.country",
     "Partner Center does not know the customer's country. Enter it as a two-letter code in the customer's address."},
    {"partner_center.refused", "customerProfile.address",
     "Partner Center does not take the customer's address. Correct it in the customer's record."},
    {"partner_center.refused", "customerProfile.team",
     "Partner Center does not take the customer's contact. Complete it with first name, last name, e-mail address and "
     "phone number."},
    {"partner_center.refused", "customerProfile.name",
     "Partner Center does not take the customer's name. Correct it in the customer's record."},
    {"partner_center.refused", "details.requirements.solutions",
     "Partner Center does not know one of the solutions, or there are more than 50. Choose solutions by the identifier "
     "they have in Partner Center."},
    {"partner_center.refused", "team",
     "Partner Center does not take one of the sales team. Complete first name, last name, e-mail address and phone "
     "number, and name at most 50."},
    {"partner_center.refused", "details.dealValue",
     "Partner Center does not take the deal's value. Enter a number of more than zero."},
    {"partner_center.refused", "details.currency",
     "Partner Center does not know the currency. Choose one with a three-letter code."},
    {"partner_center.refused", "details.closingDateTime",
     "Partner Center does not take the closing date. Enter another day."},
    {"partner_center.refused", "details.notes", "Partner Center does not take the notes. Shorten them."},
    {"partner_center.refused", "name", "Partner Center does not take the deal's name. Shorten or change it."},
    {"partner_center.refused", "inviteContext",
     "Partner Center does not take the request for Microsoft's help. Choose another kind of help, or shorten the notes."},
    {"partner_center.refused", "consent",
     "Partner Center does not allow this change of what Microsoft sees. A deal that is shared stays shared."},
    {"partner_center.refused", "status", STEP},
    {"partner_center.refused", "substatus", STEP},
    {"partner_center.refused", "statusReason",
     "Partner Center does not take the reason for closing the deal. Choose or enter another."},
    {"partner_center.refused", "*", "Partner Center does not take the value of {field}. Correct it and save again."},
    {"partner_center.refused", NULL,
     "Partner Center does not take the deal as it is and does not say why. Check the customer, the contact, the "
     "solutions, the value and the closing date, and save again; " STORY},
    {"partner_center.forbidden", NULL, "Partner Center does not permit this to the account Tandem works with. " ASK},
    {"partner_center.not_found", NULL,
     "The deal is not visible in Partner Center any more, or is in an account Tandem does not see. " ASK},
    {"dynamics_365.too_long", "*",
     "There are too many characters in {field}. Shorten the value in Partner Center, or have the column made longer."},
    {"dynamics_365.too_long", NULL,
     "There are too many characters in one of the values. Shorten the longest in Partner Center, or have the columns made "
     "longer; " STORY},
    {"dynamics_365.no_such_choice", "*",
     "The CRM has no choice for the value of {field}. Choose the value here, or have the choice added."},
    {"dynamics_365.no_such_choice", NULL,
     "The CRM has no choice for one of the values. Choose the value here, or have the choice added; " STORY},
    {"dynamics_365.unknown_label", NULL,
     "The CRM has no choice of that name. Choose the value here, or have the choice added; " STORY},
    {"dynamics_365.currency", NULL,
     "The currency of the deal is missing in the CRM or differs from that of this record. Choose the currency here, or "
     "have it added."},
    {"dynamics_365.state", NULL,
     "The CRM does not allow this step of the opportunity's life. Set the status of this record by hand."},
    {"dynamics_365.duplicate_record", NULL,
     "The CRM takes this for a duplicate of another record. Merge the two, or change the values that make them alike."},
    {"dynamics_365.plugin_refused", NULL,
     "A rule of your CRM does not allow this change. Check what the CRM asks for in this record; " STORY},
    {"dynamics_365.privilege", NULL, "The CRM does not permit this to the account Tandem works with. " ASK},
    {"dynamics_365.unexpected", NULL, "The CRM has failed again and again without a reason. " ASK},
    {"dynamics_365.not_found", NULL,
     "A record this one would point to is not in the CRM any more. Choose it here; " STORY},
    {"lookup.not_found", NULL,
     "A record this one would point to is not in the CRM. Make it, or choose another here; " STORY},
    {"lookup.ambiguous", NULL,
     "Several records of the CRM fit, and it is not known which one is meant. Choose it here; " STORY},
    {NULL, "*", "The value of {field} was refused ({code}). Correct it and save again; " STORY},
    {NULL, NULL, "The change was refused ({code}). Correct the record and save it again; " STORY},
};

const size_t REFUSAL_ROW_COUNT = ARRAY_LENGTH(REFUSAL_ROWS);

/* "/details/requirements/solutions/0/id", "details.requirements.solutions[]{id,price}" -> "details.requirements.
 * solutions.id", "details.requirements.solutions". Too long a path ends early. */
static void normalise(const char *path, char out[static PATH_SIZE])
{
    size_t length = 0;

    while (*path != '\0' && *path != '{') {
        const size_t step = strcspn(path, "./[]{");
        const bool is_index = step > 0 && strspn(path, "0123456789") == step;

        if (step > 0 && !is_index) {
            if (length + 1 + step >= PATH_SIZE)
                break;
            if (length > 0)
                out[length++] = '.';
            memcpy(out + length, path, step);
            length += step;
        }
        path += step;
        path += strspn(path, "./[]");
    }
    out[length] = '\0';
}

/* Whether `path` is `above`, or lies below it. */
static bool is_within(const char *path, const char *above)
{
    const size_t length = strlen(above);

    return strncasecmp(path, above, length) == 0 && (path[length] == '\0' || path[length] == '.');
}

/* The table's own spelling; NULL: it does not know the path. */
static const char *of_table(const char *path)
{
    for (size_t i = 0; i < REFUSAL_ROW_COUNT; i++) {
        const char *field = REFUSAL_ROWS[i].field;
        if (field != NULL && strcmp(field, "*") != 0 && is_within(path, field))
            return field;
    }
    return NULL;
}

static bool is_life(const char *path)
{
    return strcmp(path, "status") == 0 || strcmp(path, "substatus") == 0 || strcmp(path, "statusReason") == 0;
}

const char *refusal_path(const char *named, const json_t *write)
{
    json_t *iterated = (json_t *)(uintptr_t)write; /* jansson iterates over no const object, and changes none */
    char wanted[PATH_SIZE] = "", path[PATH_SIZE];
    const char *key;
    json_t *value;

    if (named != NULL)
        normalise(named, wanted);
    if (wanted[0] == '\0')
        return NULL;
    json_object_foreach (iterated, key, value) {
        normalise(key, path);
        if (is_within(wanted, path))
            return key;
    }
    return NULL;
}

/* The field the refusal is about, as the write or the table spells it; "" when that is not known. */
static void find_field(const char *named, const json_t *write, char out[static PATH_SIZE])
{
    const char *meant = refusal_path(named, write), *key, *known;
    json_t *iterated = (json_t *)(uintptr_t)write;
    char wanted[PATH_SIZE] = "", path[PATH_SIZE];
    bool is_single = true;
    json_t *value;

    out[0] = '\0';
    if (meant != NULL) {
        normalise(meant, out);
        return;
    }
    if (named != NULL)
        normalise(named, wanted);
    json_object_foreach (iterated, key, value) {
        normalise(key, path);
        is_single = is_single && (out[0] == '\0' || (is_life(out) && is_life(path)));
        if (out[0] == '\0')
            memcpy(out, path, PATH_SIZE);
    }
    known = of_table(wanted);
    if (known != NULL) /* what the write lacks */
        normalise(known, out);
    else if (!is_single)
        out[0] = '\0';
}

static bool fits(const struct refusal_row *row, const char *code, const char *field)
{
    if (row->code != NULL && (code == NULL || strcmp(row->code, code) != 0))
        return false;
    if (row->field == NULL)
        return true;
    return field[0] != '\0' && (strcmp(row->field, "*") == 0 || is_within(field, row->field));
}

static int append_filled(struct text *out, const char *words, const char *deal_key, const char *code, const char *field)
{
    const struct {
        const char *mark;
        const char *content;
    } places[] = {{"{deal}", deal_key}, {"{code}", code == NULL ? "no code" : code}, {"{field}", field}};

    while (*words != '\0') {
        size_t step = strcspn(words + 1, "{") + 1;
        const char *content = NULL;

        for (size_t i = 0; i < ARRAY_LENGTH(places) && content == NULL; i++) {
            if (text_starts_with(words, places[i].mark)) {
                content = places[i].content;
                step = strlen(places[i].mark);
            }
        }
        if ((content != NULL ? text_append(out, content) : text_append_n(out, words, step)) < 0)
            return -1;
        words += step;
    }
    return 0;
}

char *refusal_text(const char *deal_key, const char *code, const char *named, const json_t *write)
{
    const struct refusal_row *row = REFUSAL_ROWS;
    char field[PATH_SIZE];
    struct text text;
    char *taken = NULL;

    find_field(named, write, field);
    while (!fits(row, code, field))
        row++;
    text_init(&text, TEXT_BYTES_MAX);
    if (append_filled(&text, row->text, deal_key, code, field) == 0)
        taken = text_take(&text);
    text_done(&text);
    return taken;
}
