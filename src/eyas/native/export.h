// How a function is seen from outside: plain C names, everything else hidden.
#pragma once

#if defined(_WIN32)
#define EYAS_API extern "C" __declspec(dllexport)
#else
#define EYAS_API extern "C" __attribute__((visibility("default")))
#endif
