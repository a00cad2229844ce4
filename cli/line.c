#include "line.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "answer.h"
#include "signals.h"

enum { HISTORY_LINES = 1000, PATH_LIMIT = 4096 };

struct cli_line {
    EditLine *editor;
    History *history;
    const char *prompt;
    char history_file[PATH_LIMIT]; /* "" = keep none */
};

static char *prompt_of(EditLine *editor)
{
    static char text[8];
    cli_line *line = NULL;
    el_get(editor, EL_CLIENTDATA, &line);
    snprintf(text, sizeof text, "%s", line ? line->prompt : "");
    return text;
}

/* Waits until there is something to read; false when Ctrl-C came. */
static bool wait_for_input(void)
{
    struct pollfd wait[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                             {.fd = cli_interrupt_descriptor(), .events = POLLIN}};
    for (;;) {
        bool woken = poll(wait, 2, -1) > 0;
        if (cli_interrupted()) return false;
        if (woken && wait[0].revents) return true;
        if (woken) cli_interrupt_forget(); /* the rest of one that is settled */
    }
}

/* libedit's own reader tries again after a signal; here Ctrl-C ends the line. */
static int read_character(EditLine *editor, wchar_t *out)
{
    mbstate_t state;
    (void)editor;
    memset(&state, 0, sizeof state);
    for (;;) {
        char byte;
        if (!wait_for_input()) return -1;
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got == 0) return 0;
        if (got < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        /* what Ctrl-D leaves behind that came before the editor had the terminal; libedit would
         * take it for the character that quotes the next */
        if (byte == '\0') continue;
        size_t length = mbrtowc(out, &byte, 1, &state);
        if (length == (size_t)-2) continue; /* the beginning of a character */
        if (length == (size_t)-1) {
            memset(&state, 0, sizeof state); /* not UTF-8: drop it */
            continue;
        }
        return 1;
    }
}

/* Makes the folders on the way to a file, for this user only. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

static void choose_history_file(cli_line *line)
{
    const char *given = getenv("STERNA_HISTORY"), *state = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    int length = 0;
    if (given)
        length = snprintf(line->history_file, PATH_LIMIT, "%s", given);
    else if (state && state[0] == '/')
        length = snprintf(line->history_file, PATH_LIMIT, "%s/sterna/history", state);
    else if (home && home[0] == '/')
        length = snprintf(line->history_file, PATH_LIMIT, "%s/.local/state/sterna/history", home);
    if (length >= PATH_LIMIT) line->history_file[0] = '\0';
}

cli_line *cli_line_open(void)
{
    HistEvent event;
    cli_line *line = calloc(1, sizeof *line);
    if (!line) return NULL;
    line->prompt = "";
    line->editor = el_init("sterna", stdin, isatty(STDOUT_FILENO) ? stdout : stderr, stderr);
    line->history = history_init();
    if (!line->editor || !line->history) {
        cli_line_close(line);
        return NULL;
    }
    choose_history_file(line);
    history(line->history, &event, H_SETSIZE, HISTORY_LINES);
    history(line->history, &event, H_SETUNIQUE, 1);
    if (line->history_file[0]) history(line->history, &event, H_LOAD, line->history_file);
    el_set(line->editor, EL_CLIENTDATA, line);
    el_set(line->editor, EL_PROMPT, prompt_of);
    el_set(line->editor, EL_EDITOR, "emacs");
    el_set(line->editor, EL_SIGNAL, 0);
    el_set(line->editor, EL_HIST, history, line->history);
    el_set(line->editor, EL_GETCFN, read_character);
    el_set(line->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(line->editor, NULL);
    return line;
}

void cli_line_close(cli_line *line)
{
    HistEvent event;
    if (!line) return;
    if (line->editor && line->history && line->history_file[0]) {
        make_folders(line->history_file);
        /* a history that cannot be kept is no reason to complain at the end of a chat */
        history(line->history, &event, H_SAVE, line->history_file);
    }
    if (line->editor) el_end(line->editor);
    if (line->history) history_end(line->history);
    free(line);
}

cli_line_result cli_line_read(cli_line *line, char **text)
{
    cli_text whole = {NULL, 0, 0};
    HistEvent event;
    line->prompt = "> ";
    for (;;) {
        int count = 0;
        el_resize(line->editor);
        const char *typed = el_gets(line->editor, &count);
        if (!typed || count <= 0) {
            cli_text_free(&whole);
            return cli_interrupted() ? CLI_LINE_INTERRUPTED : CLI_LINE_END;
        }
        size_t size = strcspn(typed, "\n");
        bool more = size > 0 && typed[size - 1] == '\\';
        if (!cli_text_add(&whole, typed, more ? size - 1 : size) ||
            (more && !cli_text_add(&whole, "\n", 1))) {
            cli_text_free(&whole);
            return CLI_LINE_END;
        }
        if (!more) break;
        line->prompt = ". ";
    }
    if (strspn(whole.data, " \t\n") < whole.size)
        history(line->history, &event, H_ENTER, whole.data);
    *text = whole.data;
    return CLI_LINE_TEXT;
}
