// The operator's result normed in each head, with RWKV-7's bonus, times the gate.
#pragma once

#include "elementary.h"
#include "pointwise.h"

namespace EYAS_TARGET {

using eyas::Gated;

template <class T>
struct Norm {
    T mean, scale;  // (y - mean) * scale

    Norm(const T* y, int64_t size, T eps) {
        mean = sum_of<T>(size, [&](int64_t i) { return y[i]; }) / size;
        const T squares = sum_of<T>(size, [&](int64_t i) { return (y[i] - mean) * (y[i] - mean); });
        scale = T(1) / std::sqrt(squares / size + eps);
    }
};

template <class T>
inline T bonus_of(const Gated<T>& call, int64_t o, int64_t c) {
    if (!call.r) return 0;
    const T *r = call.r + o, *k = call.k + o, *r_k = call.r_k + c;
    return sum_of<T>(call.size, [&](int64_t i) { return r[i] * k[i] * r_k[i]; });
}

template <class T>
void gated(const Gated<T>& call, int64_t piece) {
    const int64_t size = call.size, heads = call.heads;
    const eyas::Piece tokens(piece, call.tokens);
    for (int64_t number = tokens.begin * heads; number < tokens.end * heads; ++number) {
        const int64_t o = number * size, c = number % heads * size;
        const T *y = call.y + o, *gate = call.gate + o;
        const T *weight = call.weight + c, *bias = call.bias + c;
        T* const out = call.out + o;
        const Norm<T> norm(y, size, call.eps);
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            out[i] = (y[i] - norm.mean) * norm.scale * weight[i] + bias[i];
        }
        if (call.r) {
            const T bonus = bonus_of(call, o, c), *v = call.v + o;
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) out[i] += bonus * v[i];
        }
        if (call.silu) {
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) out[i] *= gate[i] * sigmoid(gate[i]);
        } else {
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) out[i] *= gate[i];
        }
    }
}

template <class T>
void gated_backward(const Gated<T>& call, int64_t piece) {
    const int64_t size = call.size, heads = call.heads, width = heads * size;
    const eyas::Piece tokens(piece, call.tokens);
    for (int64_t number = tokens.begin * heads; number < tokens.end * heads; ++number) {
        const int64_t o = number * size, c = number % heads * size;
        const T *y = call.y + o, *gate = call.gate + o, *d_out = call.d_out + o;
        const T *weight = call.weight + c, *bias = call.bias + c;
        T* const d_y = call.d_y + o;
        T* const d_gate = call.d_gate + o;
        const Norm<T> norm(y, size, call.eps);
        const T bonus = bonus_of(call, o, c);
        const T* const v = call.r ? call.v + o : y;  // y: times a bonus of zero
        // First d_y holds the gradient of what the gate is multiplied with.
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            const T inner = (y[i] - norm.mean) * norm.scale * weight[i] + bias[i] + bonus * v[i];
            const T share = call.silu ? sigmoid(gate[i]) : T(1);
            const T slope = call.silu ? share * (1 + gate[i] * (1 - share)) : T(1);
            d_gate[i] = d_out[i] * inner * slope;
            d_y[i] = d_out[i] * gate[i] * share;
        }
        T* const sums = call.d_parameters ? call.d_parameters + piece * 3 * width + c : nullptr;
        if (call.r) {
            const T *r = call.r + o, *k = call.k + o, *r_k = call.r_k + c;
            T* const d_r = call.d_r + o;
            T* const d_k = call.d_k + o;
            T* const d_v = call.d_v + o;
            const T d_bonus = sum_of<T>(size, [&](int64_t i) { return d_y[i] * v[i]; });
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) {
                d_r[i] = d_bonus * k[i] * r_k[i];
                d_k[i] = d_bonus * r[i] * r_k[i];
                d_v[i] = d_y[i] * bonus;
            }
            if (sums) {
                T* const d_r_k = sums + 2 * width;
                EYAS_APART
                for (int64_t i = 0; i < size; ++i) d_r_k[i] += d_bonus * r[i] * k[i];
            }
        }
        if (sums) {
            T* const d_weight = sums;
            T* const d_bias = sums + width;
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) {
                d_weight[i] += d_y[i] * (y[i] - norm.mean) * norm.scale;
                d_bias[i] += d_y[i];
            }
        }
        const T mean = sum_of<T>(size, [&](int64_t i) { return d_y[i] * weight[i]; }) / size;
        const T along = sum_of<T>(size, [&](int64_t i) {
            return d_y[i] * weight[i] * (y[i] - norm.mean);
        }) * norm.scale * norm.scale / size;
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            d_y[i] = norm.scale * (d_y[i] * weight[i] - mean - (y[i] - norm.mean) * along);
        }
    }
}

}  // namespace EYAS_TARGET
