// The small parts of RWKV-7 for one token, as one value of EYAS_TARGET.
#pragma once

#include <cmath>

#include "elementary.h"
#include "pointwise_goose.h"
#include "simd.h"
#include "token7.h"

namespace EYAS_TARGET {

// (x - mean) / sqrt(variance + epsilon) * weight + bias
inline void normalize(const float* x, const float* weight, const float* bias, int64_t width,
                      float epsilon, float* out) {
    constexpr int L = kLanes<float>;
    Vec<float> sums{};
    for (int64_t i = 0; i < width; i += L) sums += load_part(x + i, width - i);
    const float mean = lane_sum<float>(sums) / width;
    Vec<float> squares{};
    for (int64_t i = 0; i < width; ++i) out[i] = x[i] - mean;
    for (int64_t i = 0; i < width; i += L) {
        const Vec<float> rest = load_part(out + i, width - i);
        squares += rest * rest;
    }
    const float scale = 1 / std::sqrt(lane_sum<float>(squares) / width + epsilon);
    for (int64_t i = 0; i < width; ++i) out[i] = out[i] * scale * weight[i] + bias[i];
}

inline void layer_norm(const float* x, const float* weight, const float* bias, int64_t width,
                       float* out) {
    normalize(x, weight, bias, width, 1e-5f, out);
}

inline void mix_vector(const float* x, const float* last, const float* mix, int64_t width, float* out) {
    for (int64_t i = 0; i < width; ++i) out[i] = x[i] + (last[i] - x[i]) * mix[i];
}

inline float dot(const float* a, const float* b, int64_t count) {
    Vec<float> sums{};
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        sums += load_part(a + i, count - i) * load_part(b + i, count - i);
    }
    return lane_sum<float>(sums);
}

// S = S w + (S a) b + v k;  y = S r, for four values at a time.
inline void recur(const eyas::Head7& head, const float* w, const float* a, const float* b,
                  const float* k, const float* r, const float* v, float* y) {
    constexpr int L = kLanes<float>;
    const int64_t size = head.size;
    for (int64_t i = 0; i < size; i += 4) {
        const float* const before = head.before + i * size;
        float* const after = head.after + i * size;
        Vec<float> removed[4] = {}, read[4] = {};
        for (int64_t j = 0; j < size; j += L) {
            for (int n = 0; n < 4; ++n) {
                removed[n] += load_part(before + n * size + j, size - j) * load(a + j);
            }
        }
        float u[4];
        lane_sums<float>(removed, u);
        for (int64_t j = 0; j < size; j += L) {
            for (int n = 0; n < 4; ++n) {
                Vec<float> s = load_part(before + n * size + j, size - j) * load(w + j);
                s += load(b + j) * u[n];
                s += load(k + j) * v[i + n];
                store_part(after + n * size + j, s, size - j);
                read[n] += s * load(r + j);
            }
        }
        lane_sums<float>(read, y + i);
    }
}

inline void head(const eyas::Head7& head) {
    constexpr int64_t kSpace = eyas::kMaxHead + kLanes<float>;
    const int64_t size = head.size;
    alignas(64) float w[kSpace], a[kSpace], b[kSpace], k[kSpace], r[kSpace], v[kSpace], y[kSpace];
    for (float* padded : {w, a, b, k, r}) {
        for (int64_t j = size; j < size + kLanes<float>; ++j) padded[j] = 0;
    }
    for (int64_t j = 0; j < size; ++j) {
        const float rate = sigmoid(head.a0[j] + head.a[j]);
        w[j] = exponential(-float(kStrongestDecay) * sigmoid(head.w0[j] + head.w[j]));
        r[j] = head.r[j];
        a[j] = head.k[j] * head.k_k[j];
        b[j] = rate;
        k[j] = head.k[j] * (1 + (rate - 1) * head.k_a[j]);
        v[j] = head.v[j];
    }
    if (head.value_gate) {
        for (int64_t j = 0; j < size; ++j) {
            v[j] += (head.first_value[j] - v[j]) * sigmoid(head.v0[j] + head.value_gate[j]);
        }
    }
    const float length = std::sqrt(dot(a, a, size));
    const float scale = 1 / (length > float(kShortest) ? length : float(kShortest));
    float bonus = 0;
    for (int64_t j = 0; j < size; ++j) {
        const float removal = a[j] * scale;
        a[j] = -removal;
        b[j] *= removal;
        bonus += r[j] * k[j] * head.r_k[j];
    }
    recur(head, w, a, b, k, r, v, y);
    normalize(y, head.ln_weight, head.ln_bias, size, 64e-5f, head.out);
    for (int64_t j = 0; j < size; ++j) head.out[j] = (head.out[j] + bonus * v[j]) * head.g[j];
}

}  // namespace EYAS_TARGET
