// Whether instructions beyond the baseline can be compiled here and chosen at run time.
#pragma once

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define EYAS_X86 1
#endif
