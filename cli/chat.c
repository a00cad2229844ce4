/* The chat: lines from the keyboard, answers, and a few commands.
 *
 * The conversation is rendered anew for every answer; of its tokens the session keeps those that
 * it holds already (cli_answer_ids), so that usually only the new part is read. A model without a
 * chat template continues the text that is typed.
 */
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "line.h"
#include "output.h"
#include "signals.h"

typedef struct chat {
    cli_talk *talk;
    json_t *messages;    /* [{role, content}], with a template */
    cli_text transcript; /* without one */
    char *system;        /* the system prompt, or NULL */
} chat;

static bool add_message(json_t *messages, const char *role, const char *text, size_t size)
{
    json_t *message =
        json_pack("{s:s,s:o}", "role", role, "content", cli_json_text(text ? text : "", size));
    return message && json_array_append_new(messages, message) == 0;
}

/* Forgets the conversation, keeps the system prompt. False when memory ran out. */
static bool start_over(chat *c)
{
    cli_text_free(&c->transcript);
    json_array_clear(c->messages);
    return !c->system || add_message(c->messages, "system", c->system, strlen(c->system));
}

/* Takes back what the last line added, so that it can be tried again. */
static void take_back(chat *c, size_t transcript)
{
    if (c->talk->templated)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    else
        c->transcript.size = transcript;
}

/* A turn: true unless the program must end (*status says how). */
static bool answer_line(chat *c, const char *line, int *status)
{
    sterna_error err;
    cli_answer answer;
    int32_t *ids = NULL;
    size_t count = 0, before = c->transcript.size;
    bool templated = c->talk->templated;
    memset(&err, 0, sizeof err);
    memset(&answer, 0, sizeof answer);
    bool ok = templated ? add_message(c->messages, "user", line, strlen(line))
                        : (before == 0 || cli_text_add(&c->transcript, "\n", 1)) &&
                              cli_text_add(&c->transcript, line, strlen(line));
    if (!ok) {
        *status = cli_fail_memory();
        return false;
    }
    sterna_status done = templated ? cli_encode_chat(c->talk, c->messages, &ids, &count, &err)
                                   : cli_encode_text(c->talk, c->transcript.data,
                                                     c->transcript.size, &ids, &count, &err);
    if (done == STERNA_OK) done = cli_answer_ids(c->talk, ids, count, &answer, &err);
    sterna_free(ids);
    if (ferror(stdout)) {
        cli_text_free(&answer.text);
        return false; /* main says why */
    }
    if (done != STERNA_OK) {
        cli_fail_library(&err);
        if (done == STERNA_ERROR_LIMIT)
            fputs("The conversation has become too long; /reset starts a new one, --ctx makes "
                  "room for more.\n",
                  stderr);
        take_back(c, before);
    } else {
        if (!c->talk->settings->quiet) cli_answer_summary(&answer);
        c->talk->sampling.seed++; /* or the next answer would draw the same numbers */
        ok = templated ? add_message(c->messages, "assistant", answer.text.data, answer.text.size)
                       : answer.text.size == 0 ||
                             cli_text_add(&c->transcript, answer.text.data, answer.text.size);
    }
    cli_text_free(&answer.text);
    if (!ok) *status = cli_fail_memory();
    return ok;
}

static void say_help(const chat *c)
{
    fputs("  /reset         forget the conversation\n", stderr);
    if (c->talk->templated)
        fputs("  /system TEXT   set the system prompt and start over; without TEXT show it\n",
              stderr);
    fputs("  /help          this list\n"
          "  /quit          leave (also Ctrl-D)\n"
          "  A \\ at the end of a line continues it. Ctrl-C stops an answer.\n",
          stderr);
}

static bool set_system(chat *c, const char *text, int *status)
{
    text += strspn(text, " \t");
    if (!c->talk->templated) {
        fputs("This model has no chat template, and so no place for a system prompt.\n", stderr);
        return true;
    }
    if (*text == '\0') {
        fprintf(stderr, "%s\n", c->system ? c->system : "There is no system prompt.");
        return true;
    }
    char *copy = strdup(text);
    if (copy) {
        free(c->system);
        c->system = copy;
    }
    if (!copy || !start_over(c)) {
        *status = cli_fail_memory();
        return false;
    }
    fputs("The system prompt is set; the conversation starts over.\n", stderr);
    return true;
}

static bool is_command(const char *line, const char *name)
{
    size_t length = strlen(name);
    return strncmp(line, name, length) == 0 && strchr(" \t\n", line[length]);
}

/* A line that begins with a slash: true unless the chat ends. */
static bool obey(chat *c, const char *line, int *status)
{
    if (is_command(line, "/quit") || is_command(line, "/exit")) return false;
    if (is_command(line, "/system")) return set_system(c, line + strlen("/system"), status);
    if (is_command(line, "/help")) {
        say_help(c);
    } else if (is_command(line, "/reset")) {
        if (!start_over(c)) {
            *status = cli_fail_memory();
            return false;
        }
        fputs("The conversation is forgotten.\n", stderr);
    } else {
        fputs("There is no such command; a blank in front makes the line a message:\n", stderr);
        say_help(c);
    }
    return true;
}

static int talk_on(chat *c, cli_line *keyboard)
{
    int status = CLI_OK;
    bool asked = false; /* Ctrl-C was just pressed at the prompt */
    for (bool on = true; on;) {
        char *line = NULL;
        cli_interrupt_forget();
        cli_line_result got = cli_line_read(keyboard, &line);
        if (got == CLI_LINE_INTERRUPTED) {
            fputs(asked ? "\n" : "\nCtrl-C again, Ctrl-D or /quit leaves.\n", stderr);
            on = !asked;
            asked = true;
            continue;
        }
        asked = false;
        if (got == CLI_LINE_END) {
            fputc('\n', stderr);
            break;
        }
        if (line[0] == '/')
            on = obey(c, line, &status);
        else if (strspn(line, " \t\n") < strlen(line))
            on = answer_line(c, line, &status);
        free(line);
    }
    cli_interrupt_forget();
    return status;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

int cli_chat(cli_talk *talk)
{
    chat c;
    memset(&c, 0, sizeof c);
    c.talk = talk;
    c.messages = json_array();
    const char *system = talk->settings->system;
    if (system) c.system = strdup(system);
    cli_line *keyboard = cli_line_open();
    int status = CLI_OK;
    if (!keyboard || !c.messages || (system && !c.system) || !start_over(&c)) {
        status = cli_fail_memory();
    } else {
        if (!talk->settings->quiet)
            fprintf(stderr, "%s: %s. /help lists the commands, Ctrl-D leaves.\n",
                    name_of(talk->model_path),
                    talk->templated ? "type a message"
                                    : "no chat template, the model continues what you type");
        status = talk_on(&c, keyboard);
    }
    cli_line_close(keyboard);
    cli_text_free(&c.transcript);
    json_decref(c.messages);
    free(c.system);
    return status;
}
