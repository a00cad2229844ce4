/* A progress bar with the time left, on stderr, drawn only when that is a terminal. */
#ifndef STERNA_CLI_PROGRESS_H
#define STERNA_CLI_PROGRESS_H

#include <stdbool.h>

typedef struct cli_progress {
    bool off;     /* never draw (--json, --quiet, not a terminal) */
    bool drawn;   /* a bar stands on the screen */
    double first; /* share that was done when this stage was first reported */
    double began; /* seconds; when this stage was first reported */
    double last;  /* seconds; when the bar was last drawn */
    char stage[64];
} cli_progress;

/* `quiet` keeps it silent. One bar at a time. */
void cli_progress_start(cli_progress *progress, bool quiet);
/* A sterna_progress callback; `context` is a cli_progress. False once Ctrl-C was pressed. */
bool cli_progress_report(void *context, const char *stage, double done, double total);
/* Takes the bar off the screen and ends it. */
void cli_progress_end(cli_progress *progress);
/* Takes any bar off the screen, so that a sentence can be printed. */
void cli_progress_clear(void);

/* "0:07", "12:34", "1:02:03". `size` >= 16. */
void cli_duration(double seconds, char *text, unsigned size);

#endif
