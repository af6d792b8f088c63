// The kernels for x86 processors with AVX-512.
#include "x86.h"

#if defined(EYAS_X86)
// Before the target changes: what the library's headers define stays fit for every processor.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx2,fma,f16c")
#endif
#if !defined(__clang__)
// GCC's own headers leave a vector undefined on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define EYAS_TARGET avx512
#define EYAS_VECTOR_BYTES 64
#define EYAS_UNROLL 4
#define EYAS_ROWS 8
#define EYAS_TILE_ROWS 4
#define EYAS_TILE_WEIGHTS 2
#include "target_kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
