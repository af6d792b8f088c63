// Functions of one number that the compiler can compute for a whole vector at once, and sums.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// Before a loop: what it writes is nowhere else read or written by another turn of it.
#if defined(__clang__)
#define EYAS_APART _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define EYAS_APART _Pragma("GCC ivdep")
#else
#define EYAS_APART
#endif

namespace EYAS_TARGET {

// e^x to 1e-7 of its value for |x| <= 87, and the value there beyond: with x = n log 2 + f, 2^n is
// an exponent's bits, and e^f a Taylor series, |f| <= log(2) / 2.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to a whole number
    const float shifted = x * 1.44269504f + magic;
    const float n = shifted - magic;
    // log 2 in two parts, of which the first has few bits: n times it is exact
    const float f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.0f / 5040;
    sum = sum * f + 1.0f / 720;
    sum = sum * f + 1.0f / 120;
    sum = sum * f + 1.0f / 24;
    sum = sum * f + 1.0f / 6;
    sum = sum * f + 0.5f;
    sum = sum * f + 1.0f;
    sum = sum * f + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, 4);
    bits = static_cast<int32_t>(static_cast<uint32_t>(bits) << 23) + (127 << 23);
    float power;
    std::memcpy(&power, &bits, 4);
    return sum * power;
}

inline double exponential(double x) { return std::exp(x); }

template <class T>
inline T sigmoid(T x) {
    return T(1) / (T(1) + exponential(-x));
}

// term(0) + ... + term(count - 1), in an order that leaves room for vectors
template <class T, class Term>
inline T sum_of(int64_t count, const Term& term) {
    constexpr int kParts = 16;
    T part[kParts] = {};
    int64_t i = 0;
    for (; i + kParts <= count; i += kParts) {
        for (int n = 0; n < kParts; ++n) part[n] += term(i + n);
    }
    T sum = 0;
    for (; i < count; ++i) sum += term(i);
    for (int n = 0; n < kParts; ++n) sum += part[n];
    return sum;
}

}  // namespace EYAS_TARGET
