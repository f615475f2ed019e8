/* The answer of a token endpoint is a grant that fits into a header and a clock, or one of the known failures. The first
 * byte chooses the status. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/attributes.h"
#include "common/http/token_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_token(const char *token)
{
    size_t length = strlen(token);

    require(length >= 1 && length <= TOKEN_MAX_BYTES);
    for (size_t i = 0; i < length; i++)
        require(token[i] > ' ' && token[i] < 0x7F);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {200, 400, 401, 403, 429, 500, 302, 204};
    struct token_grant_answer answer;
    struct error err = ERROR_INIT;

    if (size == 0)
        return 0;
    long status = statuses[data[0] % ARRAY_LENGTH(statuses)];
    if (token_response_judge(status, (const char *)data + 1, size - 1, &answer, &err) < 0) {
        bool is_config = strcmp(err.code, "token.sign_in_needed") == 0 || strcmp(err.code, "token.refused") == 0;
        bool is_transient = strcmp(err.code, "token.unavailable") == 0 || strcmp(err.code, "token.bad_response") == 0;
        require(is_config != is_transient);
        require(err.class == (is_config ? ERROR_CONFIG : ERROR_TRANSIENT));
        return 0;
    }
    require(status == 200);
    check_token(answer.access_token);
    if (answer.refresh_token != NULL)
        check_token(answer.refresh_token);
    require(answer.life_ms >= 1000 && answer.life_ms <= TOKEN_LIFE_MAX_MS);
    for (uint32_t random = 0; random < 4; random++) {
        int64_t renewal_ms = token_renewal_ms(answer.life_ms, random * 0x55555555u);
        require(renewal_ms > 0 && renewal_ms < token_use_ms(answer.life_ms));
    }
    require(token_use_ms(answer.life_ms) < answer.life_ms);
    token_grant_answer_done(&answer);
    return 0;
}
