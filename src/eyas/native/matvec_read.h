// Reads a row of a weight, whatever it is kept as, as vectors in float32. Blocks of quantized weights
// must begin with rows.
#pragma once

#include <cstdint>
#include <cstring>

#include "matvec.h"
#include "simd.h"
#include "x86.h"

namespace EYAS_TARGET {

using eyas::kBlock;
using eyas::Product;

// Asks for one line in so many bytes of what is read so much later, into the second cache. A weight
// is read straight on, which processors read ahead by themselves; but they stop at each page, and a
// few requests beyond it make them go on. A request for every line would take their place, and is
// slower.
constexpr int64_t kAhead = 4096;
constexpr uintptr_t kAskedOnceIn = 256;
inline void ask_ahead(const void* from, uintptr_t bytes) {
#if defined(__GNUC__)
    if (uintptr_t(from) % kAskedOnceIn < bytes) {
        __builtin_prefetch(static_cast<const char*>(from) + kAhead, 0, 2);
    }
#else
    (void)from, (void)bytes;
#endif
}

// Asks for every line of these bytes.
inline void ask(const void* from, uintptr_t bytes) {
#if defined(__GNUC__)
    for (uintptr_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(static_cast<const char*>(from) + i, 0, 2);
    }
#else
    (void)from, (void)bytes;
#endif
}

struct Bfloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};

constexpr float kSmallestHalf = 5.9604644775390625e-8f;  // 2^-24

inline float widen_one(Bfloat16 number) {
    const uint32_t bits = uint32_t(number.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

inline float widen_one(Float16 number) {
    const uint32_t sign = uint32_t(number.bits & 0x8000) << 16, rest = number.bits & 0x7fff;
    uint32_t bits = rest << 13;
    float wide = rest * kSmallestHalf;  // numbers below the normal ones
    if (rest < 0x400) std::memcpy(&bits, &wide, 4);
    else bits += rest < 0x7c00 ? 112u << 23 : 224u << 23;  // the bias, or inf and NaN
    bits |= sign;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

inline float widen_one(int8_t number) { return number; }
inline float widen_one(float number) { return number; }

inline Vec<float> widen(const float* from) { return load(from); }

// multiply_add(a, b, sum) is a b + sum, written so that no compiler rounds it once here and twice
// there: how many vectors are multiplied together must not change a bit.
#if defined(EYAS_X86) && EYAS_VECTOR_BYTES == 64

inline Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> sum) {
    return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
}
inline Vec<float> everywhere(float number) { return (Vec<float>)_mm512_set1_ps(number); }
inline Vec<float> widen(const Bfloat16* from) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
    return (Vec<float>)_mm512_slli_epi32(wide, 16);
}
inline Vec<float> widen(const Float16* from) {
    return (Vec<float>)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}
inline Vec<float> widen(const int8_t* from) {
    const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from));
    return (Vec<float>)_mm512_cvtepi32_ps(wide);
}

// 16 values, looked up by the codes of a block: see `part` for their order.
struct Table {
    Vec<float> values;

    explicit Table(const float* from) : values(load(from)) {}
    Vec<float> look_up(const uint8_t* block, int n) const {
        const __m512i codes = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)block));
        const __m512i first = _mm512_set_epi32(4, 4, 4, 4, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0);
        const __m512i places = _mm512_add_epi32(first, _mm512_set1_epi32(8 * n));
        const __m512i shifted = _mm512_srlv_epi32(codes, places);
        return (Vec<float>)_mm512_permutexvar_ps(shifted, (__m512)values);  // by the low 4 bits
    }
};

#elif defined(EYAS_X86) && EYAS_VECTOR_BYTES == 32

inline Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> sum) {
    return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
}
inline Vec<float> everywhere(float number) { return (Vec<float>)_mm256_set1_ps(number); }
inline Vec<float> widen(const Bfloat16* from) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from));
    return (Vec<float>)_mm256_slli_epi32(wide, 16);
}
inline Vec<float> widen(const Float16* from) {
    return (Vec<float>)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
}
inline Vec<float> widen(const int8_t* from) {
    const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from));
    return (Vec<float>)_mm256_cvtepi32_ps(wide);
}

struct Table {
    Vec<float> low, high;

    explicit Table(const float* from) : low(load(from)), high(load(from + 8)) {}
    Vec<float> look_up(const uint8_t* block, int n) const {
        const __m256i all = _mm256_loadu_si256((const __m256i*)block);
        const __m256i codes = _mm256_srli_epi32(all, 4 * n);
        const __m256 below = _mm256_permutevar8x32_ps((__m256)low, codes);  // by the low 3 bits
        const __m256 above = _mm256_permutevar8x32_ps((__m256)high, codes);
        const __m256 chosen = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));
        return (Vec<float>)_mm256_blendv_ps(below, above, chosen);
    }
};

#else

inline Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> sum) { return sum + a * b; }
inline Vec<float> everywhere(float number) {
    float lanes[kLanes<float>];
    for (float& lane : lanes) lane = number;
    return load(lanes);
}

#if defined(__GNUC__)

// As many numbers as there are lanes; GCC and Clang turn these into instructions of the processor.
template <class T>
struct LanesOf {
    typedef T type __attribute__((vector_size(kLanes<float> * sizeof(T))));
};
template <class T>
inline typename LanesOf<uint32_t>::type lanes_of(const T* from) {
    typename LanesOf<uint16_t>::type numbers;
    static_assert(sizeof(T) == sizeof(uint16_t), "numbers of 16 bits");
    std::memcpy(&numbers, from, sizeof numbers);
    return __builtin_convertvector(numbers, typename LanesOf<uint32_t>::type);
}
inline Vec<float> widen(const Bfloat16* from) { return (Vec<float>)(lanes_of(from) << 16); }
inline Vec<float> widen(const Float16* from) {
    using Bits = typename LanesOf<uint32_t>::type;
    const Bits all = lanes_of(from), rest = all & 0x7fff, sign = (all & 0x8000) << 16;
    // As `widen_one`: a comparison is a mask of ones where it holds.
    const Bits small = (Bits)(rest < 0x400), large = (Bits)(rest >= 0x7c00);
    const Bits normal = (rest << 13) + (112u << 23) + (large & (112u << 23));
    const auto signed_rest = (typename LanesOf<int32_t>::type)rest;
    const Vec<float> tiny = __builtin_convertvector(signed_rest, Vec<float>) * kSmallestHalf;
    return (Vec<float>)(((Bits)tiny & small) | (normal & ~small) | sign);
}
inline Vec<float> widen(const int8_t* from) {
    typename LanesOf<int8_t>::type codes;
    std::memcpy(&codes, from, sizeof codes);
    const auto wide = __builtin_convertvector(codes, typename LanesOf<int32_t>::type);
    return __builtin_convertvector(wide, Vec<float>);
}

#else

template <class T>
inline Vec<float> widen(const T* from) {
    float lanes[kLanes<float>];
    for (int i = 0; i < kLanes<float>; ++i) lanes[i] = widen_one(from[i]);
    return load(lanes);
}

#endif

struct Table {
    const float* values;

    explicit Table(const float* from) : values(from) {}
    Vec<float> look_up(const uint8_t* block, int n) const {
        // Lanes of one group of 8 have the same place in their 4 bytes.
        const int first = n * kLanes<float>, nibble = first / 8;
        const uint8_t* const bytes = block + first % 8 * 4 + nibble / 2;
        const int shift = nibble % 2 * 4;
        float lanes[kLanes<float>];
        for (int i = 0; i < kLanes<float>; ++i) lanes[i] = values[bytes[4 * i] >> shift & 15];
        return load(lanes);
    }
};

#endif

// Numbers without scales.
template <class T>
struct Plain {
    const T* row;

    Plain(const Product& product, int64_t number)
        : row(static_cast<const T*>(product.weight) + number * product.in) {}
    // Fewer than a vector from `column` on, and zeros.
    Vec<float> part(int64_t column, int64_t count) const {
        T lanes[kLanes<float>] = {};
        std::memcpy(lanes, row + column, count * sizeof(T));
        return widen(lanes);
    }
};

struct Int8 {
    const int8_t* row;
    const float* scales;

    Int8(const Product& product, int64_t number)
        : row(static_cast<const int8_t*>(product.weight) + number * product.in),
          scales(static_cast<const float*>(product.scales) + number * product.in / kBlock) {}
    void ask_ahead_of(int64_t block) const { ask_ahead(row + block * kBlock, kBlock); }
    // Vector number n of a block, without its scale.
    Vec<float> at(int64_t block, int n) const {
        return widen(row + block * kBlock + n * kLanes<float>);
    }
};

// `at` gives the values in an order of their own, in which x comes too: see `part`.
struct FourBits {
    const uint8_t* row;
    const float* scales;
    Table table;

    FourBits(const Product& product, int64_t number)
        : row(static_cast<const uint8_t*>(product.weight) + number * product.in / 2),
          scales(static_cast<const float*>(product.scales) + number * product.in / kBlock),
          table(product.values) {}
    void ask_ahead_of(int64_t block) const { ask_ahead(row + block * kBlock / 2, kBlock / 2); }
    Vec<float> at(int64_t block, int n) const { return table.look_up(row + block * kBlock / 2, n); }
};

template <bool DOUBLE>
inline float four_bit_scale(const Product& product, uint64_t block) {
    if (!DOUBLE) return static_cast<const float*>(product.scales)[block];
    const float level = product.levels[static_cast<const uint8_t*>(product.scales)[block]];
    return level * product.maxima[block / 256] + product.offset[0];
}

// Value number `place` of the flat weight.
template <class S>
inline float int8_at(const Product& product, uint64_t place) {
    const float scale = widen_one(static_cast<const S*>(product.scales)[place / kBlock]);
    return static_cast<const int8_t*>(product.weight)[place] * scale;
}

template <bool DOUBLE>
inline float four_bits_at(const Product& product, uint64_t place) {
    const uint8_t both = static_cast<const uint8_t*>(product.weight)[place / 2];
    const int code = place % 2 ? both & 15 : both >> 4;
    return product.values[code] * four_bit_scale<DOUBLE>(product, place / kBlock);
}

}  // namespace EYAS_TARGET
