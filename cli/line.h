/* Lines from the keyboard, with editing and history (libedit). */
#ifndef STERNA_CLI_LINE_H
#define STERNA_CLI_LINE_H

typedef struct cli_line cli_line;

/* Prompts go to stdout, or to stderr when that is no terminal. NULL when memory ran out. */
cli_line *cli_line_open(void);
/* Saves the history. NULL accepted. */
void cli_line_close(cli_line *line);

typedef enum cli_line_result {
    CLI_LINE_TEXT,
    CLI_LINE_END,        /* Ctrl-D, or nobody is there any more */
    CLI_LINE_INTERRUPTED /* Ctrl-C */
} cli_line_result;

/* Reads a line; a backslash at its end continues it on the next. *text without the line end:
 * release with free. */
cli_line_result cli_line_read(cli_line *line, char **text);

#endif
