// Vectors of EYAS_VECTOR_BYTES bytes in the namespace EYAS_TARGET, as each target of the compiler
// has them. GCC and Clang turn the arithmetic below into single instructions; elsewhere it is loops.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace EYAS_TARGET {

template <class T>
constexpr int kLanes = EYAS_VECTOR_BYTES / sizeof(T);

#if defined(__GNUC__)

template <class T>
struct VecOf {
    typedef T type __attribute__((vector_size(EYAS_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VecOf<T>::type;

#else

template <class T>
struct Vec {
    T lane[kLanes<T>] = {};
};
template <class T>
inline Vec<T> operator*(Vec<T> a, const Vec<T>& b) {
    for (int i = 0; i < kLanes<T>; ++i) a.lane[i] *= b.lane[i];
    return a;
}
template <class T>
inline Vec<T> operator*(Vec<T> a, T b) {
    for (int i = 0; i < kLanes<T>; ++i) a.lane[i] *= b;
    return a;
}
template <class T>
inline Vec<T> operator+(Vec<T> a, const Vec<T>& b) {
    for (int i = 0; i < kLanes<T>; ++i) a.lane[i] += b.lane[i];
    return a;
}
template <class T>
inline Vec<T>& operator+=(Vec<T>& a, const Vec<T>& b) {
    return a = a + b;
}

#endif

template <class T>
inline Vec<T> load(const T* from) {
    Vec<T> vec;
    std::memcpy(&vec, from, sizeof vec);
    return vec;
}

template <class T>
inline void store(T* to, const Vec<T>& vec) {
    std::memcpy(to, &vec, sizeof vec);
}

// Asks for numbers that will soon be read.
template <class T>
inline void prefetch(const T* from, int64_t count) {
#if defined(__GNUC__)
    constexpr int64_t kLine = 64 / sizeof(T);
    for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i);
#else
    (void)from, (void)count;
#endif
}

// The first `count` lanes, if there are so many; the others are zeros.
template <class T>
inline Vec<T> load_part(const T* from, int64_t count) {
    if (count >= kLanes<T>) return load(from);
    Vec<T> vec{};
    if (count > 0) std::memcpy(&vec, from, count * sizeof(T));
    return vec;
}

template <class T>
inline void store_part(T* to, const Vec<T>& vec, int64_t count) {
    if (count >= kLanes<T>) store(to, vec);
    else if (count > 0) std::memcpy(to, &vec, count * sizeof(T));
}

#if defined(__GNUC__)

// Lanes lie in groups of 16 bytes, which shuffles seldom cross.
template <class T>
constexpr int kGroup = 16 / sizeof(T);
template <class T>
struct GroupOf {
    typedef T type __attribute__((vector_size(16)));
};
template <class T>
using Group = typename GroupOf<T>::type;

// In a group of the result of `every_second`, the first half comes from a, the second from b.
template <class T, int ODD>
constexpr int source_lane(int lane) {
    const int half = kGroup<T> / 2, place = lane % kGroup<T>;
    return (place < half ? 0 : kLanes<T>) + lane - place + 2 * (place % half) + ODD;
}

// The lanes of a and, numbered on, of b.
template <class T, int... LANE, class V>
inline V shuffle(V a, V b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, LANE...);
#else
    using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    typedef Index Indices __attribute__((vector_size(sizeof(V))));
    return __builtin_shuffle(a, b, Indices{LANE...});
#endif
}

template <class T, int ODD, int... LANE>
inline Vec<T> every_second(Vec<T> a, Vec<T> b, std::integer_sequence<int, LANE...>) {
    return shuffle<T, source_lane<T, ODD>(LANE)...>(a, b);
}

template <class T>
inline Vec<T> pair_sums(Vec<T> a, Vec<T> b) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
    return every_second<T, 0>(a, b, lanes) + every_second<T, 1>(a, b, lanes);
}

// out[i] = the sum of the lanes of vecs[i]: two vectors are added pair by pair into one, until each
// group holds one sum of each vector, and then the groups are added.
template <class T, int COUNT>
inline void lane_sums(const Vec<T> (&vecs)[COUNT], T* out) {
    constexpr int G = kGroup<T>;
    static_assert(COUNT % G == 0, "whole groups");
    for (int i = 0; i < COUNT; i += G) {
        Vec<T> sums = pair_sums<T>(vecs[i], vecs[i + 1]);
        if constexpr (G == 4) {
            sums = pair_sums<T>(sums, pair_sums<T>(vecs[i + 2], vecs[i + 3]));
        }
        Group<T> groups[kLanes<T> / G];
        std::memcpy(groups, &sums, sizeof groups);
        for (int n = 1; n < kLanes<T> / G; ++n) groups[0] += groups[n];
        std::memcpy(out + i, groups, sizeof(Group<T>));
    }
}

// Tiles of 4 x 4 of the first `size` rows and columns, to[i, j] = from[j, i]; returns how many rows.
inline int64_t transpose_tiles(
    float* to, int64_t to_stride, const float* from, int64_t from_stride, int64_t size
) {
    const int64_t whole = size / 4 * 4;
    for (int64_t i = 0; i < whole; i += 4) {
        for (int64_t j = 0; j < whole; j += 4) {
            Group<float> in[4], out[4];
            for (int n = 0; n < 4; ++n) std::memcpy(in + n, from + (j + n) * from_stride + i, 16);
            const Group<float> a = shuffle<float, 0, 4, 1, 5>(in[0], in[1]);
            const Group<float> b = shuffle<float, 0, 4, 1, 5>(in[2], in[3]);
            const Group<float> c = shuffle<float, 2, 6, 3, 7>(in[0], in[1]);
            const Group<float> d = shuffle<float, 2, 6, 3, 7>(in[2], in[3]);
            out[0] = shuffle<float, 0, 1, 4, 5>(a, b), out[1] = shuffle<float, 2, 3, 6, 7>(a, b);
            out[2] = shuffle<float, 0, 1, 4, 5>(c, d), out[3] = shuffle<float, 2, 3, 6, 7>(c, d);
            for (int n = 0; n < 4; ++n) std::memcpy(to + (i + n) * to_stride + j, out + n, 16);
        }
    }
    return whole;
}

#else

template <class T, int COUNT>
inline void lane_sums(const Vec<T> (&vecs)[COUNT], T* out) {
    for (int i = 0; i < COUNT; ++i) {
        out[i] = 0;
        for (T lane : vecs[i].lane) out[i] += lane;
    }
}

#endif

template <class T>
inline T lane_sum(const Vec<T>& vec) {
    T lanes[kLanes<T>], sum = 0;
    std::memcpy(lanes, &vec, sizeof lanes);
    for (T lane : lanes) sum += lane;
    return sum;
}

}  // namespace EYAS_TARGET
