// The kernels for x86 processors with AVX2 and FMA.
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
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define EYAS_TARGET avx2
#define EYAS_VECTOR_BYTES 32
#define EYAS_UNROLL 2
#define EYAS_ROWS 4
#define EYAS_TILE_ROWS 2
#define EYAS_TILE_WEIGHTS 2
#include "target_kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
