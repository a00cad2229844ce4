/* Answers a conversation with a model:
 *
 *   cc answer.c -o answer $(pkg-config --cflags --libs sterna)
 *   ./answer model.gguf '[{"role": "user", "content": "Why is the sea salty?"}]'
 */
#include <stdio.h>
#include <sterna.h>

static bool print(void *context, const char *text, size_t size)
{
    (void)context;
    return fwrite(text, 1, size, stdout) == size && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: answer MODEL MESSAGES\n"), 2;

    sterna_error err;
    sterna_model *model = NULL;
    sterna_session *session = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    sterna_generate_options options = {.n_predict = 256, .on_text = print};

    sterna_status status = sterna_model_open(argv[1], NULL, &model, &err);
    if (!status) status = sterna_session_new(model, NULL, &session, &err);
    if (!status)
        status = sterna_model_encode_chat(model, argv[2], NULL, NULL, true, &ids, &count, &err);
    if (!status) {
        sterna_sampling_default(model, &options.sampling);
        status = sterna_generate(session, ids, count, &options, NULL, &err);
    }
    if (status)
        fprintf(stderr, "answer: %s\n", err.message);
    else
        putchar('\n');

    sterna_free(ids);
    sterna_session_free(session);
    sterna_model_close(model);
    return status ? 1 : 0;
}
