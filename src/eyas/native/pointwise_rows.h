// Cross-entropy of a row of logits, and the channel mix's relu(x)^2.
#pragma once

#include "elementary.h"
#include "pointwise.h"

namespace EYAS_TARGET {

using eyas::Softmax;
using eyas::Squared;

// Logits into gradient, softmax - one of the target, + l2 times the largest at its place.
template <class T>
void softmax(const Softmax<T>& call, int64_t row) {
    const int64_t size = call.size, target = call.targets[row];
    T* const z = call.logits + row * size;
    T lanes[16];
    for (int n = 0; n < 16; ++n) lanes[n] = z[0];
    int64_t i = 0;
    for (; i + 16 <= size; i += 16) {
        for (int n = 0; n < 16; ++n) lanes[n] = z[i + n] > lanes[n] ? z[i + n] : lanes[n];
    }
    T largest = z[0];
    for (; i < size; ++i) largest = z[i] > largest ? z[i] : largest;
    for (int n = 0; n < 16; ++n) largest = lanes[n] > largest ? lanes[n] : largest;
    const T chosen = z[target];
    int64_t where = 0;
    while (call.gradient && call.l2 != 0 && where + 1 < size && !(z[where] == largest)) ++where;
    const T sum = sum_of<T>(size, [&](int64_t c) { return z[c] = exponential(z[c] - largest); });
    call.loss[row] = std::log(sum) + largest - chosen;
    if (!call.gradient) return;
    const T scale = T(1) / sum;
    EYAS_APART
    for (int64_t c = 0; c < size; ++c) z[c] *= scale;
    z[target] -= 1;
    z[where] += call.l2 * largest;
}

template <class T>
void squared(const Squared<T>& call, int64_t begin, int64_t end) {
    const T* const x = call.x;
    T* const out = call.out;
    EYAS_APART
    for (int64_t i = begin; i < end; ++i) {
        const T positive = x[i] < 0 ? T(0) : x[i];
        out[i] = positive * positive;
    }
}

// From the result: its root is relu(x).
template <class T>
void squared_backward(const Squared<T>& call, int64_t begin, int64_t end) {
    const T *out = call.out, *d_out = call.d_out;
    T* const d_x = call.d_x;
    EYAS_APART
    for (int64_t i = begin; i < end; ++i) d_x[i] = 2 * std::sqrt(out[i]) * d_out[i];
}

}  // namespace EYAS_TARGET
