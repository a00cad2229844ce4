#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupts;
static int wake[2] = {-1, -1}; /* a pipe: the handler writes to [1] */
static sterna_session *_Atomic session_at_work;

static void on_interrupt(int signal_number)
{
    int error = errno;
    interrupts++;
    ssize_t ignored = write(wake[1], "", 1);
    (void)ignored;
    sterna_session *session = atomic_load(&session_at_work);
    if (session) sterna_session_cancel(session);
    /* whoever asks twice gets the system's own way */
    if (interrupts > 1) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
    errno = error;
}

static void on_bus_error(int signal_number)
{
    static const char sentence[] = "sterna: a file became shorter, or its disk failed, while it "
                                   "was being read; nothing more can be done with it\n";
    (void)signal_number;
    ssize_t ignored = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    (void)ignored;
    _exit(1);
}

static void handle(int signal_number, void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    /* no SA_RESTART: whatever waits for input ends when Ctrl-C comes */
    sigaction(signal_number, &action, NULL);
}

void cli_signals_start(void)
{
    /* opened the wrong way round on purpose: using a closed stream stays an error */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            _exit(1);
    if (pipe2(wake, O_NONBLOCK | O_CLOEXEC) != 0) _exit(1);
    handle(SIGINT, on_interrupt);
    handle(SIGBUS, on_bus_error);
    handle(SIGXFSZ, SIG_IGN); /* a limit on file sizes fails the write, as a full disk does */
}

bool cli_interrupted(void)
{
    return interrupts > 0;
}

void cli_interrupt_forget(void)
{
    char bytes[16];
    while (read(wake[0], bytes, sizeof bytes) > 0) continue;
    interrupts = 0;
}

int cli_interrupt_descriptor(void)
{
    return wake[0];
}

void cli_interrupt_session(sterna_session *session)
{
    atomic_store(&session_at_work, session);
}
