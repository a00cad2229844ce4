/* sterna tokenize: text to token ids, and back. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"

enum { INPUT_LIMIT = 1 << 30 };

typedef struct tokenize_settings {
    const char *file, *decode;
    bool special, bos, json;
} tokenize_settings;

/* ---- text to ids ---- */

static int print_ids(const int32_t *ids, size_t count, bool as_json)
{
    if (!as_json) {
        for (size_t i = 0; i < count; i++) printf("%s%d", i ? " " : "", (int)ids[i]);
        putchar('\n');
        return CLI_OK;
    }
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++) {
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return cli_print_json(json_pack("{s:o,s:I}", "ids", list, "count", (json_int_t)count));
}

static int encode(const sterna_tokenizer *tokenizer, const tokenize_settings *settings,
                  const char *text, size_t size)
{
    sterna_error err;
    int32_t *ids = NULL;
    size_t count = 0;
    int flags = (settings->bos ? STERNA_TOKENS_ADD_SPECIAL : 0) |
                (settings->special ? STERNA_TOKENS_PARSE_SPECIAL : 0);
    memset(&err, 0, sizeof err);
    if (sterna_tokenize(tokenizer, text, size, flags, &ids, &count, &err) != STERNA_OK)
        return cli_fail_library(&err);
    int status = print_ids(ids, count, settings->json);
    sterna_free(ids);
    return status;
}

/* ---- ids to text ---- */

typedef struct id_list {
    int32_t *ids;
    size_t count, capacity;
} id_list;

/* Appends the ids of "1 2,3" or "[1, 2, 3]". */
static int add_ids(const cli_command *command, id_list *list, const char *text)
{
    for (const char *at = text;;) {
        at += strspn(at, " ,\t\r\n[]");
        if (*at == '\0') return CLI_OK;
        size_t length = strspn(at, "0123456789");
        double id = length && length <= 10 ? strtod(at, NULL) : 0;
        if (length == 0 || length > 10 || id > INT32_MAX || !strchr(" ,\t\r\n[]", at[length]))
            return cli_usage_error(command->name, "--decode takes token ids, not '%.40s'", at);
        if (list->count == list->capacity) {
            size_t larger = list->capacity ? list->capacity * 2 : 256;
            int32_t *ids = realloc(list->ids, larger * sizeof *ids);
            if (!ids) return cli_fail_memory();
            list->ids = ids;
            list->capacity = larger;
        }
        list->ids[list->count++] = (int32_t)id;
        at += length;
    }
}

static int print_decoded(const char *text, size_t size, bool as_json)
{
    if (as_json) return cli_print_json(json_pack("{s:o}", "text", cli_json_text(text, size)));
    cli_print_text(text, size);
    return CLI_OK;
}

static int decode(const cli_command *command, const sterna_tokenizer *tokenizer,
                  const tokenize_settings *settings, int operands, char **operand)
{
    sterna_error err;
    id_list list = {NULL, 0, 0};
    char *text = NULL, *input = NULL;
    size_t size = 0;
    int status = CLI_OK;
    memset(&err, 0, sizeof err);
    if (strcmp(settings->decode, "-") == 0)
        status = cli_read_input("-", INPUT_LIMIT, &input, &size);
    if (status == CLI_OK) status = add_ids(command, &list, input ? input : settings->decode);
    for (int i = 0; status == CLI_OK && i < operands; i++)
        status = add_ids(command, &list, operand[i]);
    if (status == CLI_OK &&
        sterna_detokenize(tokenizer, list.ids, list.count, false, &text, &size, &err) != STERNA_OK)
        status = cli_fail_library(&err);
    if (status == CLI_OK) status = print_decoded(text, size, settings->json);
    sterna_free(text);
    free(input);
    free(list.ids);
    return status;
}

static int run_tokenize(const cli_command *command, const void *from, int operands, char **operand)
{
    const tokenize_settings *settings = from;
    sterna_error err;
    sterna_tokenizer *tokenizer = NULL;
    char *input = NULL;
    size_t size = 0;
    int status;
    memset(&err, 0, sizeof err);
    if (settings->decode && settings->file)
        return cli_usage_error(command->name, "--decode and --file exclude each other");
    if (settings->file && operands > 1)
        return cli_usage_error(command->name, "TEXT and --file exclude each other");
    if (!settings->decode && operands > 2)
        return cli_usage_error(command->name, "TEXT is one argument; put it into quotes");
    if (sterna_tokenizer_load(operand[0], &tokenizer, &err) != STERNA_OK)
        return cli_fail_library(&err);
    if (settings->decode) {
        status = decode(command, tokenizer, settings, operands - 1, operand + 1);
    } else if (operands > 1) {
        status = encode(tokenizer, settings, operand[1], strlen(operand[1]));
    } else {
        status = cli_read_input(settings->file ? settings->file : "-", INPUT_LIMIT, &input, &size);
        if (status == CLI_OK) status = encode(tokenizer, settings, input, size);
    }
    free(input);
    sterna_tokenizer_free(tokenizer);
    return status;
}

static const tokenize_settings tokenize_defaults;
static const cli_option tokenize_options[] = {
    {"file", 'f', CLI_FILE, "FILE", 0, 0, offsetof(tokenize_settings, file),
     "take the text from FILE; - is standard input"},
    {"decode", 'd', CLI_TEXT, "IDS", 0, 0, offsetof(tokenize_settings, decode),
     "print the text of these ids (\"1 2 3\" or 1,2,3); - reads them from standard input"},
    {"special", 0, CLI_FLAG, NULL, 0, 0, offsetof(tokenize_settings, special),
     "special tokens written in the text (<|im_end|>, </s>) become those tokens; without it they "
     "are plain text"},
    {"bos", 0, CLI_FLAG, NULL, 0, 0, offsetof(tokenize_settings, bos),
     "add the tokens of beginning and end where the model's files ask for them"},
    CLI_JSON_OPTION(tokenize_settings,
                    "print one JSON object: ids and count, or text with --decode"),
};

const cli_command cli_command_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids, or ids into text",
    .operands = "MODEL [TEXT]",
    .min_operands = 1,
    .max_operands = -1,
    .about = "Prints the token ids of TEXT, of a file, or of standard input. Nothing is added and "
             "nothing is special unless --bos or --special say so. --decode prints the text of "
             "ids, byte for byte.\n\n"
             "MODEL is anything that holds a vocabulary: a GGUF file (also without weights), a "
             "Hugging Face folder, a tokenizer.json, a SentencePiece .model, a tiktoken list, or "
             "the tokenizer.bin of llama2.c.",
    .limits = "A text is at most 1 GiB.",
    .examples = "sterna tokenize model.gguf \"Hello world\"\n"
                "sterna tokenize tokenizer.json --file book.txt --json\n"
                "sterna tokenize model.gguf --decode \"1 15043 3186\"\n"
                "sterna tokenize model.gguf -- \"--text that looks like an option\"\n",
    .options = tokenize_options,
    .option_count = CLI_COUNT(tokenize_options),
    .defaults = &tokenize_defaults,
    .settings_size = sizeof tokenize_defaults,
    .run = run_tokenize,
};
