/* Signals: Ctrl-C stops the work in hand, a second one ends the program; a mapped file that
 * becomes shorter while it is read ends it with a sentence. */
#ifndef STERNA_CLI_SIGNALS_H
#define STERNA_CLI_SIGNALS_H

#include <stdbool.h>

#include "sterna.h"

/* Installs the handlers, and fills in standard streams that were closed, so that no file opened
 * later takes their place. */
void cli_signals_start(void);
/* Ctrl-C was pressed since the last cli_interrupt_forget. */
bool cli_interrupted(void);
void cli_interrupt_forget(void);
/* A descriptor that becomes readable with Ctrl-C, for those who wait for input: the signal may be
 * taken by another thread, or come just before the waiting begins. */
int cli_interrupt_descriptor(void);
/* Ctrl-C also cancels this session's work; NULL none. */
void cli_interrupt_session(sterna_session *session);

#endif
