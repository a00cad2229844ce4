/* The built-in calibration set: texts of several domains and formats, a file each. */
#include "quant/calibrate.h"

extern const sterna_text sterna_calibration_prose, sterna_calibration_verse,
    sterna_calibration_talk, sterna_calibration_code, sterna_calibration_lists,
    sterna_calibration_mixed, sterna_calibration_tokenised;

const sterna_text *const sterna_calibration_texts[] = {
    &sterna_calibration_prose,     &sterna_calibration_verse, &sterna_calibration_talk,
    &sterna_calibration_code,      &sterna_calibration_lists, &sterna_calibration_mixed,
    &sterna_calibration_tokenised,
};
const size_t sterna_calibration_text_count =
    sizeof sterna_calibration_texts / sizeof *sterna_calibration_texts;
