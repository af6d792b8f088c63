// Which sources this library was built from, so that a stale one is not taken for the present one.
#include "export.h"

EYAS_API const char* eyas_sources() { return EYAS_SOURCES; }
