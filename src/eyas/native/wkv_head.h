// What the kernels of the WKV operators share: where a head's numbers lie, and scratch memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "simd.h"
#include "wkv.h"

namespace EYAS_TARGET {

using eyas::Call;
using eyas::kChunk;

constexpr int64_t rounded_up(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }

// One head of one row of the batch; tensors are [B, T, H, N], states [B, H, N, N].
template <class T>
struct Head {
    const Call<T>& call;
    int64_t row, head, size;
    int64_t columns;  // the size filled up to whole vectors

    Head(const Call<T>& call_, int64_t number)
        : call(call_),
          row(number / call_.heads),
          head(number % call_.heads),
          size(call_.size),
          columns(rounded_up(call_.size, kLanes<T>)) {}

    int64_t token(int64_t t) const { return ((row * call.length + t) * call.heads + head) * size; }
    int64_t state() const { return (row * call.heads + head) * size * size; }
    int64_t kept(int64_t t) const {
        const int64_t chunks = (call.length + kChunk - 1) / kChunk;
        return ((row * call.heads + head) * chunks + t / kChunk) * size * size;
    }
    const T* fresh() const { return call.fresh ? call.fresh + head * size * size : nullptr; }
    bool starts(int64_t t) const { return call.starts && call.starts[row * call.length + t]; }

    // bonus . k . r, of RWKV-6
    T own(int64_t t) const {
        const T *u = call.bonus + head * size, *k = call.k + token(t), *r = call.r + token(t);
        Vec<T> sum{};
        for (int64_t j = 0; j < size; j += kLanes<T>) {
            const int64_t count = size - j;
            sum += load_part(u + j, count) * load_part(k + j, count) * load_part(r + j, count);
        }
        return lane_sum<T>(sum);
    }
};

// Hands out scratch memory piece by piece, each at a multiple of 64 bytes; counts only, where
// there is none.
template <class T>
struct Scratch {
    T* memory;
    int64_t used = 0;

    T* take(int64_t count) {
        T* const taken = memory ? memory + used : nullptr;
        used += rounded_up(count, 64 / sizeof(T));
        return taken;
    }
};

}  // namespace EYAS_TARGET
