/* SPDX-License-Identifier: MIT */
/*
 * analyze.h - what `make analyze` tells the analysers about functions that they do not see
 * into; included before each file, by nothing else.
 *
 * They look at one file at a time.  What every "return bdrv_error(…)" stands on, that the
 * result is negative, and that of these others is never positive, they cannot know: they
 * follow paths on which a failure was a success, and what should have been filled in was not.
 */
#ifndef ANALYZE_H
#define ANALYZE_H

#include "bdrv-driver.h"

#ifndef ANALYZE_ERRORS_OWNER /* block/error.c, which has them */
#define bdrv_error(...) ({ int e_ = bdrv_error(__VA_ARGS__); e_ < 0 ? e_ : -1; })
#define bdrv_error_prefix(...) ({ int p_ = bdrv_error_prefix(__VA_ARGS__); p_ < 0 ? p_ : -1; })
#endif

#ifdef ANALYZE_USER /* of block/: drivers and tools */
#define bdrv_pread(...) ({ int r_ = bdrv_pread(__VA_ARGS__); r_ > 0 ? -1 : r_; })
#define bdrv_table_read(...) ({ int t_ = bdrv_table_read(__VA_ARGS__); t_ > 0 ? -1 : t_; })
#endif

#endif
