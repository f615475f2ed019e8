/* Runs a fuzz target over files instead of random input.
 *
 * Linked with every fuzz target where libFuzzer is not in use, so that each input that once broke something stays an
 * ordinary test. Arguments are files or folders (one level deep); a sanitizer or a crash ends the program. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* An input longer than this is a mistake in the corpus, not a case. */
#define INPUT_MAX_BYTES (16L * 1024 * 1024)

/* What a fuzz target defines (libFuzzer's own interface). */
extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_stream(FILE *file)
{
    uint8_t *data;
    size_t size;
    long length;
    int result = -1;

    if (fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0 || length > INPUT_MAX_BYTES)
        return -1;
    rewind(file);
    /* Exactly as long as the input (malloc(0) aside), so that a sanitizer sees a read past its end. */
    size = (size_t)length;
    data = malloc(size > 0 ? size : 1);
    if (data == NULL)
        return -1;
    if (fread(data, 1, size, file) == size) {
        (void)LLVMFuzzerTestOneInput(data, size);
        result = 0;
    }
    free(data);
    return result;
}

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    int result;

    if (file == NULL) {
        perror(path);
        return -1;
    }
    result = replay_stream(file);
    if (result < 0)
        fprintf(stderr, "%s: cannot be read or is larger than %ld bytes\n", path, INPUT_MAX_BYTES);
    (void)fclose(file);
    return result;
}

/* Replays every regular file of a folder; adds to *count. */
static int replay_folder(const char *path, unsigned *count)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    int result = 0;

    if (folder == NULL) {
        perror(path);
        return -1;
    }
    while ((entry = readdir(folder)) != NULL) {
        char name[4096];
        struct stat status;
        int length = snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);

        if (length < 0 || (size_t)length >= sizeof(name)) {
            result = -1;
            continue;
        }
        if (stat(name, &status) != 0 || !S_ISREG(status.st_mode))
            continue;
        if (replay_file(name) < 0)
            result = -1;
        else
            ++*count;
    }
    (void)closedir(folder);
    return result;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int result = 0;

    for (int i = 1; i < argc; i++) {
        struct stat status;

        if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode)) {
            if (replay_folder(argv[i], &count) < 0)
                result = -1;
        } else if (replay_file(argv[i]) < 0) {
            result = -1;
        } else {
            count++;
        }
    }
    printf("%u inputs replayed\n", count);
    /* A run over nothing would be a test that cannot fail. */
    return result < 0 || count == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
