#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "signals.h"

/* Work that ends sooner shows no bar; a bar is drawn again no more often than this. */
static const double FIRST_AFTER = 0.3, AGAIN_AFTER = 0.1;

static cli_progress *current;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) return size.ws_col;
    return 80;
}

void cli_duration(double seconds, char *text, unsigned size)
{
    double most = 359999; /* 99:59:59 */
    unsigned s = (unsigned)(seconds < 0 ? 0 : seconds > most ? most : seconds + 0.5);
    if (s >= 3600)
        snprintf(text, size, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, size, "%u:%02u", s / 60, s % 60);
}

void cli_progress_start(cli_progress *progress, bool quiet)
{
    memset(progress, 0, sizeof *progress);
    progress->off = quiet || !isatty(STDERR_FILENO);
    current = progress;
}

void cli_progress_clear(void)
{
    if (!current || !current->drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    current->drawn = false;
}

void cli_progress_end(cli_progress *progress)
{
    cli_progress_clear();
    if (current == progress) current = NULL;
}

/* stage  [#######--------]  47%  0:12 left */
static void draw(cli_progress *progress, double share, double elapsed)
{
    char bar[41], left[16] = "";
    int width = terminal_width() - 44, filled;
    if (width > (int)sizeof bar - 1) width = (int)sizeof bar - 1;
    if (width < 8) width = 8;
    filled = (int)(share * width);
    memset(bar, '-', (size_t)width);
    memset(bar, '#', (size_t)filled);
    bar[width] = '\0';
    double gone = share - progress->first;
    if (gone > 0.01) cli_duration(elapsed * (1 - share) / gone, left, sizeof left);
    fprintf(stderr, "\r\033[K%-18.24s [%s] %3d%%  %s%s", progress->stage, bar, (int)(share * 100),
            left, left[0] ? " left" : "");
    fflush(stderr);
    progress->drawn = true;
}

bool cli_progress_report(void *context, const char *stage, double done, double total)
{
    cli_progress *progress = context;
    if (cli_interrupted()) return false;
    if (progress->off) return true;
    double t = now();
    if (strncmp(progress->stage, stage, sizeof progress->stage - 1) != 0) {
        snprintf(progress->stage, sizeof progress->stage, "%s", stage);
        progress->began = t;
        progress->first = total > 0 ? done / total : 0;
        progress->last = 0;
    }
    double wait = progress->drawn ? AGAIN_AFTER : FIRST_AFTER;
    if (t - (progress->drawn ? progress->last : progress->began) < wait) return true;
    double share = total > 0 ? done / total : 0;
    draw(progress, share < 0 ? 0 : share > 1 ? 1 : share, t - progress->began);
    progress->last = t;
    return true;
}
