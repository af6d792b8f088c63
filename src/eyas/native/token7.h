// RWKV-7 for one token of a few rows: the same equations as `models/rwkv7.py`, a layer as a few jobs.
#pragma once

#include <cstdint>

#include "matvec.h"

namespace eyas {

struct Matrix {
    int64_t storage, in, out;
    const void* weight;  // null where a layer has none
    const void* scales;
    const float* maxima;
    const float* offset;
    const float* values;
    const float* levels;
};

// The vectors are [C]; the low-rank matrices come transposed, [out, in] as the others.
struct Layer7 {
    const float *ln0_weight, *ln0_bias;  // of the first layer, else null
    const float *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias, *ln_x_weight, *ln_x_bias;
    const float *x_r, *x_k, *x_v, *x_w, *x_a, *x_g;
    const float *w0, *a0, *v0, *k_k, *k_a, *r_k, *ffn_x_k;
    Matrix receptance, key, value, w1, a1, v1, g1, w2, a2, v2, g2, output, ffn_key, ffn_value;
};

struct Model7 {
    int64_t num_layers, width, num_heads, ffn_width;
    const Layer7* layers;
    const float *ln_out_weight, *ln_out_bias;
};

// What a head computes from the products of its row; all [N] of one head but for the state.
struct Head7 {
    int64_t size;  // a multiple of 4, at most kMaxHead
    const float *r, *k, *w, *a, *g;        // w, a: what the low-rank matrices add to w0, a0
    const float *value_gate, *first_value;  // of layers that mix in the first layer's value, or null
    const float *w0, *a0, *v0, *k_k, *k_a, *r_k, *ln_weight, *ln_bias;
    const float* v;
    const float* before;  // [value, key]
    float* after;
    float* out;
};
constexpr int64_t kMaxHead = 256;

struct TokenTarget {
    void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t width, float* out);
    // out = x + (last - x) mix
    void (*mix)(const float* x, const float* last, const float* mix, int64_t width, float* out);
    void (*head)(const Head7&);
};

struct FewRows {
    ProductTarget products;
    TokenTarget token7;
};

// x: [rows, C] the embeddings. before, after: attention input [rows, C], wkv [rows, H, N, N] and ffn
// input [rows, C] of each layer. hidden: [rows, C], what the head reads.
void token7(const Model7& model, const FewRows& target, int64_t threads, int64_t rows, const float* x,
            const float* const* before, float* const* after, float* hidden);

}  // namespace eyas
