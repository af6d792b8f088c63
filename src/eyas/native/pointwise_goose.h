// From the linears of RWKV-7's time mix to the operator's arguments, for a piece of tokens.
#pragma once

#include "elementary.h"
#include "pointwise.h"

namespace EYAS_TARGET {

using eyas::Goose;

constexpr double kStrongestDecay = 0.606530659712633423603799534991;  // exp(-1/2)
constexpr double kShortest = 1e-12;  // a vector is not divided by less than this length

// What head number `number`, of all heads of all tokens, is made from.
template <class T>
struct GooseHead {
    int64_t o, c;  // where it begins in a tensor, and in a parameter
    const T *w, *a, *k, *w0, *a0, *k_k, *k_a;
    T inverse;  // one over the length of k * k_k

    GooseHead(const Goose<T>& call, int64_t number)
        : o(number * call.size), c(number % call.heads * call.size), w(call.w + o), a(call.a + o),
          k(call.k + o), w0(call.w0 + c), a0(call.a0 + c), k_k(call.k_k + c), k_a(call.k_a + c) {
        const T squares = sum_of<T>(call.size, [&](int64_t i) {
            return k[i] * k_k[i] * (k[i] * k_k[i]);
        });
        const T length = std::sqrt(squares);
        inverse = T(1) / (length > T(kShortest) ? length : T(kShortest));
    }
};

template <class T>
void goose(const Goose<T>& call, int64_t piece) {
    const int64_t size = call.size, heads = call.heads;
    const eyas::Piece tokens(piece, call.tokens);
    for (int64_t number = tokens.begin * heads; number < tokens.end * heads; ++number) {
        const auto [o, c, w, a, k, w0, a0, k_k, k_a, inverse] = GooseHead<T>(call, number);
        T* const log_decay = call.log_decay + o;
        T* const key = call.key + o;
        T* const removal = call.removal + o;
        T* const replacement = call.replacement + o;
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            const T rate = sigmoid(a0[i] + a[i]), unit = k[i] * k_k[i] * inverse;
            log_decay[i] = -T(kStrongestDecay) * sigmoid(w0[i] + w[i]);
            key[i] = k[i] * (1 + (rate - 1) * k_a[i]);
            removal[i] = -unit;
            replacement[i] = unit * rate;
        }
        if (!call.mix) continue;
        const T *mix = call.mix + o, *v = call.v + o, *first = call.first + o, *v0 = call.v0 + c;
        T* const value = call.value + o;
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            value[i] = v[i] + (first[i] - v[i]) * sigmoid(v0[i] + mix[i]);
        }
    }
}

template <class T>
void goose_backward(const Goose<T>& call, int64_t piece) {
    const int64_t size = call.size, heads = call.heads;
    const eyas::Piece tokens(piece, call.tokens);
    for (int64_t number = tokens.begin * heads; number < tokens.end * heads; ++number) {
        const auto [o, c, w, a, k, w0, a0, k_k, k_a, inverse] = GooseHead<T>(call, number);
        const T *d_log_decay = call.d_log_decay + o, *d_key = call.d_key + o;
        const T *d_removal = call.d_removal + o, *d_replacement = call.d_replacement + o;
        T* const d_w = call.d_w + o;
        T* const d_a = call.d_a + o;
        T* const d_k = call.d_k + o;
        // First d_a holds the rate, and d_k the gradient of the unit vector.
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            const T rate = sigmoid(a0[i] + a[i]), decay = sigmoid(w0[i] + w[i]);
            d_a[i] = rate;
            d_k[i] = d_replacement[i] * rate - d_removal[i];
            d_w[i] = -T(kStrongestDecay) * d_log_decay[i] * decay * (1 - decay);
        }
        const bool is_unit = inverse < T(1 / kShortest);
        const T along = is_unit ? sum_of<T>(size, [&, k = k, k_k = k_k](int64_t i) {
            return d_k[i] * k[i] * k_k[i];
        }) * inverse : T(0);
        T* const sums = call.d_parameters ? call.d_parameters + piece * 5 * heads * size + c : nullptr;
        const int64_t width = heads * size;
        if (sums) {
            T* const d_k_k = sums + 3 * width;
            T* const d_k_a = sums + 4 * width;
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) {
                d_k_k[i] += (d_k[i] - k[i] * k_k[i] * inverse * along) * inverse * k[i];
                d_k_a[i] += d_key[i] * k[i] * (d_a[i] - 1);
            }
        }
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) {
            const T rate = d_a[i], unit = k[i] * k_k[i] * inverse;
            const T d_scaled = (d_k[i] - unit * along) * inverse;
            const T d_rate = d_replacement[i] * unit + d_key[i] * k[i] * k_a[i];
            d_k[i] = d_scaled * k_k[i] + d_key[i] * (1 + (rate - 1) * k_a[i]);
            d_a[i] = d_rate * rate * (1 - rate);
        }
        if (call.mix) {
            const T *mix = call.mix + o, *v = call.v + o, *first = call.first + o;
            const T *v0 = call.v0 + c, *d_value = call.d_value + o;
            T* const d_mix = call.d_mix + o;
            T* const d_v = call.d_v + o;
            T* const d_first = call.d_first + o;
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) {
                const T share = sigmoid(v0[i] + mix[i]);
                d_mix[i] = d_value[i] * (first[i] - v[i]) * share * (1 - share);
                d_v[i] = d_value[i] * (1 - share);
                d_first[i] = d_value[i] * share;
            }
        }
        if (!sums) continue;
        T* const d_w0 = sums;
        T* const d_a0 = sums + width;
        T* const d_v0 = sums + 2 * width;
        EYAS_APART
        for (int64_t i = 0; i < size; ++i) d_w0[i] += d_w[i], d_a0[i] += d_a[i];
        if (call.mix) {
            EYAS_APART
            for (int64_t i = 0; i < size; ++i) d_v0[i] += call.d_mix[o + i];
        }
    }
}

}  // namespace EYAS_TARGET
