// The WKV operators forward, for one head.
//
// The state lies transposed, [key, value]: a vector holds values i of one key j, and no sum goes
// across lanes. One pass over the state a token does it all:
//
//     RWKV-6   y = S r;  S = S w + v k
//     RWKV-7   S = S w + u b + v k;  y = S r;  and u = S a for the next token
#pragma once

#include "wkv_head.h"

namespace EYAS_TARGET {

template <class T>
struct ForwardTensors {
    T* state;  // [N, columns]
    T* own;    // [kChunk], of RWKV-6

    ForwardTensors(Scratch<T>& scratch, int64_t size, int64_t columns)
        : state(scratch.take(size * columns)), own(scratch.take(kChunk)) {}
};

// to[i, j] = from[j, i]
template <class T>
void transpose(T* to, int64_t to_stride, const T* from, int64_t from_stride, int64_t size) {
    int64_t done = 0;
#if defined(__GNUC__)
    if constexpr (sizeof(T) == 4) done = transpose_tiles(to, to_stride, from, from_stride, size);
#endif
    for (int64_t i = 0; i < size; ++i) {
        for (int64_t j = i < done ? done : 0; j < size; ++j) to[i * to_stride + j] = from[j * from_stride + i];
    }
}

template <class T>
void begin_document(const Head<T>& at, T* state, int64_t first, int64_t count) {
    for (int64_t j = 0; j < at.size; ++j) {
        for (int64_t i = first; i < first + count; ++i) {
            const bool given = at.fresh() && i < at.size;
            state[j * at.columns + i] = given ? at.fresh()[i * at.size + j] : T(0);
        }
    }
}

// The tokens of a head lie apart, and no processor would guess them.
template <class T, bool SEVEN>
void prefetch_token(const Head<T>& at, int64_t t) {
    const Call<T>& call = at.call;
    if (t >= call.length) return;
    for (const T* tensor : {call.r, call.decay, call.k, call.v}) {
        prefetch(tensor + at.token(t), at.size);
    }
    if constexpr (SEVEN) {
        for (const T* tensor : {call.a, call.b}) prefetch(tensor + at.token(t), at.size);
    }
}

// Values [first, first + UNROLL vectors) of the state through the tokens [begin, end).
template <class T, bool SEVEN, int UNROLL>
void forward_tokens(
    const Head<T>& at, const ForwardTensors<T>& my, int64_t begin, int64_t end, int64_t first
) {
    constexpr int L = kLanes<T>;
    const Call<T>& call = at.call;
    const int64_t size = at.size, columns = at.columns, left = size - first;
    T* const state = my.state + first;
    Vec<T> u[UNROLL] = {}, next_u[UNROLL] = {};
    for (int64_t t = begin; t < end; ++t) {
        const int64_t token = at.token(t);
        const T *r = call.r + token, *w = call.decay + token, *k = call.k + token;
        prefetch_token<T, SEVEN>(at, t + 2);
        if (at.starts(t)) begin_document(at, my.state, first, UNROLL * L);
        Vec<T> v[UNROLL], y[UNROLL] = {};
        for (int n = 0; n < UNROLL; ++n) {
            v[n] = load_part(call.v + token + first + n * L, left - n * L);
        }
        if constexpr (SEVEN) {
            const T *a = call.a + token, *b = call.b + token;
            const T* const next_a = call.a + at.token(t + 1 < end ? t + 1 : t);
            for (int n = 0; n < UNROLL; ++n) {
                u[n] = next_u[n];
                next_u[n] = Vec<T>{};
            }
            if (t == begin || at.starts(t)) {
                for (int n = 0; n < UNROLL; ++n) u[n] = Vec<T>{};
                for (int64_t j = 0; j < size; ++j) {
                    for (int n = 0; n < UNROLL; ++n) u[n] += load(state + j * columns + n * L) * a[j];
                }
            }
            for (int64_t j = 0; j < size; ++j) {
                for (int n = 0; n < UNROLL; ++n) {
                    T* const place = state + j * columns + n * L;
                    Vec<T> s = load(place) * w[j] + v[n] * k[j];
                    s += u[n] * b[j];
                    store(place, s);
                    y[n] += s * r[j];
                    next_u[n] += s * next_a[j];
                }
            }
            for (int n = 0; call.u && n < UNROLL; ++n) {
                store_part(call.u + token + first + n * L, u[n], left - n * L);
            }
        } else {
            for (int64_t j = 0; j < size; ++j) {
                for (int n = 0; n < UNROLL; ++n) {
                    T* const place = state + j * columns + n * L;
                    const Vec<T> s = load(place);
                    y[n] += s * r[j];
                    store(place, s * w[j] + v[n] * k[j]);
                }
            }
            for (int n = 0; n < UNROLL; ++n) y[n] += v[n] * my.own[t - begin];
        }
        for (int n = 0; n < UNROLL; ++n) {
            store_part(call.out + token + first + n * L, y[n], left - n * L);
        }
    }
}

template <class T, bool SEVEN>
void forward(const Call<T>& call, int64_t number, T* memory) {
    constexpr int L = kLanes<T>, UNROLL = EYAS_UNROLL;
    const Head<T> at(call, number);
    const int64_t size = at.size, columns = at.columns;
    Scratch<T> scratch{memory};
    const ForwardTensors<T> my(scratch, size, columns);
    std::memset(my.state, 0, size * columns * sizeof(T));
    transpose(my.state, columns, call.state + at.state(), size, size);
    for (int64_t begin = 0; begin < call.length; begin += kChunk) {
        const int64_t end = begin + kChunk < call.length ? begin + kChunk : call.length;
        if (call.kept) transpose(call.kept + at.kept(begin), size, my.state, columns, size);
        if constexpr (!SEVEN) {
            for (int64_t t = begin; t < end; ++t) my.own[t - begin] = at.own(t);
        }
        int64_t i = 0;
        for (; i + UNROLL * L <= columns; i += UNROLL * L) {
            forward_tokens<T, SEVEN, UNROLL>(at, my, begin, end, i);
        }
        for (; i < columns; i += L) forward_tokens<T, SEVEN, 1>(at, my, begin, end, i);
    }
    transpose(call.last + at.state(), size, my.state, columns, size);
}

}  // namespace EYAS_TARGET
