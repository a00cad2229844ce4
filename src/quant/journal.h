/* The journal of a calibrated run: what it has finished, in a folder OUT.resume beside the output,
 * so that a run which was killed goes on behind its last finished layer and ends in the same file,
 * bit by bit.
 *
 * `layers` holds the calibration windows, the sensitivities where they are measured, and, layer by
 * layer, what became of the matrices; `states` files hold the hidden states of both streams behind
 * the last two layers. All of it is checked by sums when it is read. An end that was not written
 * completely costs the last layer; anything else that is wrong is an error. Files are for this
 * machine's byte order only.
 */
#ifndef STERNA_QUANT_JOURNAL_H
#define STERNA_QUANT_JOURNAL_H

#include "base/digest.h"
#include "quant/calibrate.h"
#include "quant/stream.h"

typedef struct sterna_journal sterna_journal;

/* Is there a journal for this output? */
bool sterna_journal_exists(const char *out);
/* Starts a journal, in place of one that is there. `identity` says what the result depends on. */
sterna_status sterna_journal_start(const char *out, const uint8_t identity[STERNA_DIGEST_BYTES],
                                   sterna_journal **journal, sterna_error *err);
/* Opens the journal of an interrupted run. Fails when there is none, or it is damaged, or of
 * another identity. */
sterna_status sterna_journal_resume(const char *out, const uint8_t identity[STERNA_DIGEST_BYTES],
                                    sterna_journal **journal, sterna_error *err);
/* The folder stays where a finished layer makes it worth it, unless `done`. NULL accepted. */
void sterna_journal_close(sterna_journal *journal, bool done);

/* Finished layers. */
uint32_t sterna_journal_layers(const sterna_journal *journal);

/* False when it holds none (it was started, or stopped before they were made). */
bool sterna_journal_has_calibration(const sterna_journal *journal);
sterna_status sterna_journal_get_calibration(const sterna_journal *journal, sterna_calibration *out,
                                             sterna_error *err);
sterna_status sterna_journal_put_calibration(sterna_journal *journal,
                                             const sterna_calibration *calibration,
                                             sterna_error *err);

/* Sets the items' sensitivities as far as they were measured; returns the number of layers. */
uint32_t sterna_journal_get_sensitivities(const sterna_journal *journal, sterna_item *items,
                                          size_t n_items);
/* Keeps those of all items, `layers` of which have been measured. */
sterna_status sterna_journal_put_sensitivities(sterna_journal *journal, const sterna_item *items,
                                               size_t n_items, uint32_t layers, sterna_error *err);

/* Makes the items of all finished layers READY, and reads the states[2][count] behind them. */
sterna_status sterna_journal_get_layers(sterna_journal *journal, sterna_item *items, size_t n_items,
                                        float *const states[2], size_t count, sterna_error *err);
/* The next layer is finished: keeps the items that have become READY since the last call (or, for
 * the first, since they were FIT) and the states. */
sterna_status sterna_journal_put_layer(sterna_journal *journal, const sterna_item *items,
                                       size_t n_items, const float *const states[2], size_t count,
                                       sterna_error *err);

#endif
