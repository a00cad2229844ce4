/* Copying what belongs to a Hugging Face model beside its weights into a new folder. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "formats/writer.h"

enum { MAX_SIDE_FILE = 256 << 20 };

static const char *const names[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tiktoken.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
    "LICENSE",
    "NOTICE",
};

static sterna_status write_whole(const char *path, const char *text, size_t size, sterna_error *err)
{
    sterna_writer *writer = NULL;
    sterna_status status = sterna_writer_open(path, &writer, err);
    if (status) return status;
    status = sterna_writer_write(writer, text, size, err);
    if (!status) return sterna_writer_commit(writer, err);
    sterna_writer_abort(writer);
    return status;
}

static sterna_status copy_file(const char *from, const char *to, sterna_error *err)
{
    char *text = NULL;
    size_t size = 0;
    if (!sterna_path_exists(from)) return STERNA_OK;
    sterna_status status = sterna_file_read(from, MAX_SIDE_FILE, &text, &size, err);
    if (!status) status = write_whole(to, text, size, err);
    sterna_free(text);
    return status;
}

static int append(const char *bytes, size_t size, void *buffer)
{
    sterna_buffer_add(buffer, bytes, size);
    return ((sterna_buffer *)buffer)->failed ? -1 : 0;
}

static sterna_status write_json(const char *path, const json_t *value, sterna_error *err)
{
    sterna_buffer text = {0};
    bool done = json_dump_callback(value, append, &text, JSON_INDENT(2)) == 0;
    sterna_buffer_add_char(&text, '\n');
    sterna_status status = done && !text.failed ? write_whole(path, text.data, text.size, err)
                                                : sterna_fail_memory(err, path);
    sterna_buffer_free(&text);
    return status;
}

sterna_status sterna_hf_copy_side_files(const char *from, const char *to, const json_t *config,
                                        sterna_error *err)
{
    if (mkdir(to, 0777) != 0 && errno != EEXIST)
        return sterna_fail(err, STERNA_ERROR_IO, "%s: cannot create the folder: %s", to,
                           strerror(errno));
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++) {
        char *source = sterna_path_join(from, names[i]), *target = sterna_path_join(to, names[i]);
        if (!source || !target)
            status = sterna_fail_memory(err, to);
        else if (config && i == 0)
            status = write_json(target, config, err);
        else
            status = copy_file(source, target, err);
        sterna_free(source);
        sterna_free(target);
    }
    return status;
}
