#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"

enum { SENTENCE_MAX = 2048 };

/* Bytes of the control character at the start of `text`: one of C0 but line end and tab, DEL, or
 * one of C1 (C2 80 .. C2 9F in UTF-8); 0 when there is none. */
static size_t control_size(const unsigned char *text, size_t size)
{
    if (text[0] < ' ' && text[0] != '\n' && text[0] != '\t') return 1;
    if (text[0] == 0x7f) return 1;
    return size > 1 && text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f ? 2 : 0;
}

/* Without control characters; U+FFFD stands for each, but nothing for a carriage return (Windows'
 * line ends have one). */
static void write_shown(FILE *stream, const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t at = 0; at < size;) {
        size_t control = control_size(bytes + at, size - at);
        if (!control)
            fputc(bytes[at], stream);
        else if (bytes[at] != '\r')
            fputs("\xef\xbf\xbd", stream);
        at += control ? control : 1;
    }
}

static void say(const char *sentence)
{
    cli_progress_clear();
    fflush(stdout);
    fputs("sterna: ", stderr);
    /* always as on a terminal, where logs are read, and on one line */
    for (size_t length; length = strcspn(sentence, "\n"), sentence[length];
         sentence += length + 1) {
        write_shown(stderr, sentence, length);
        fputc(' ', stderr);
    }
    write_shown(stderr, sentence, strlen(sentence));
    fputc('\n', stderr);
}

int cli_usage_error(const char *command, const char *format, ...)
{
    char sentence[SENTENCE_MAX], whole[SENTENCE_MAX + 128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    size_t length = strlen(sentence);
    const char *stop = length && strchr(".?", sentence[length - 1]) ? "" : ".";
    if (command)
        snprintf(whole, sizeof whole, "%s: %s%s See 'sterna %s --help'.", command, sentence, stop,
                 command);
    else
        snprintf(whole, sizeof whole, "%s%s See 'sterna --help'.", sentence, stop);
    say(whole);
    return CLI_USAGE;
}

int cli_fail(const char *format, ...)
{
    char sentence[SENTENCE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    say(sentence);
    return CLI_FAILURE;
}

int cli_fail_library(const sterna_error *err)
{
    if (err->status == STERNA_ERROR_CANCELLED) {
        say("interrupted");
        return CLI_INTERRUPTED;
    }
    return cli_fail("%s", err->message);
}

int cli_fail_memory(void)
{
    return cli_fail("out of memory");
}

/* ---- text ---- */

bool cli_write(FILE *stream, const char *text, size_t size)
{
    if (!isatty(fileno(stream))) return fwrite(text, 1, size, stream) == size;
    write_shown(stream, text, size);
    return !ferror(stream);
}

bool cli_print_text(const char *text, size_t size)
{
    bool ok = cli_write(stdout, text, size);
    if (isatty(STDOUT_FILENO) && size && text[size - 1] != '\n') fputc('\n', stdout);
    return ok;
}

/* Bytes of the character at the start of `text`; of the maximal part that is none when *ill_formed
 * (Unicode, table 3-7 and "substitution of maximal subparts"). */
static size_t character_size(const unsigned char *text, size_t size, bool *ill_formed)
{
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *ill_formed = first >= 0x80 && (first < 0xc2 || first > 0xf4);
    if (*ill_formed) return 1;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    for (size_t i = 1; i < length; i++) {
        *ill_formed = i == size || text[i] < low || text[i] > high;
        if (*ill_formed) return i;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

json_t *cli_json_text(const char *text, size_t size)
{
    if (size == 0) return json_string("");
    if (size > SIZE_MAX / 3) return NULL;
    char *clean = malloc(size * 3);
    if (!clean) return NULL;
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        bool ill_formed;
        size_t length = character_size((const unsigned char *)text + at, size - at, &ill_formed);
        memcpy(clean + used, ill_formed ? "\xef\xbf\xbd" : text + at, ill_formed ? 3 : length);
        used += ill_formed ? 3 : length;
        at += length;
    }
    json_t *string = json_stringn(clean, used);
    free(clean);
    return string;
}

json_t *cli_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

int cli_print_json(json_t *value)
{
    /* nine digits: more than any figure here is worth */
    char *text =
        value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    if (!text) return cli_fail_memory();
    puts(text);
    free(text);
    return CLI_OK;
}

int cli_print_report_text(const char *json)
{
    size_t length = strlen(json);
    fwrite(json, 1, length, stdout);
    if (length == 0 || json[length - 1] != '\n') fputc('\n', stdout);
    return CLI_OK;
}

int cli_finish_output(int status)
{
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0) failed = true;
    if (!failed) return status;
    /* which error it was, stdio may have forgotten long ago; the system tells it again */
    errno = 0;
    ssize_t again = write(STDOUT_FILENO, "\n", 1);
    if (again >= 0 || errno != EPIPE)
        cli_fail("cannot write all of the output: %s",
                 again < 0 ? strerror(errno) : "standard output failed");
    return status == CLI_OK ? CLI_FAILURE : status;
}

/* ---- input ---- */

static int read_stream(FILE *stream, const char *name, size_t limit, char **text, size_t *size)
{
    size_t capacity = 1 << 16, used = 0;
    char *bytes = malloc(capacity + 1);
    if (!bytes) return cli_fail_memory();
    for (;;) {
        used += fread(bytes + used, 1, capacity - used, stream);
        if (used < capacity) break;
        if (used > limit) break;
        char *larger = realloc(bytes, capacity * 2 + 1);
        if (!larger) {
            free(bytes);
            return cli_fail_memory();
        }
        bytes = larger;
        capacity *= 2;
    }
    if (ferror(stream) || used > limit) {
        int status = used > limit
                         ? cli_fail("%s is larger than the limit of %zu bytes", name, limit)
                         : cli_fail("%s: cannot be read: %s", name, strerror(errno));
        free(bytes);
        return status;
    }
    bytes[used] = '\0';
    *text = bytes;
    *size = used;
    return CLI_OK;
}

int cli_read_input(const char *path, size_t limit, char **text, size_t *size)
{
    if (strcmp(path, "-") == 0) {
        if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
            fputs("Type the text; Ctrl-D at the start of a line ends it.\n", stderr);
        return read_stream(stdin, "standard input", limit, text, size);
    }
    FILE *stream = fopen(path, "rb");
    if (!stream) return cli_fail("%s: cannot be opened: %s", path, strerror(errno));
    int status = read_stream(stream, path, limit, text, size);
    fclose(stream);
    return status;
}
