// What the elementwise kernels work on; the equations are in eyas/fused. Tensors are [B, T, C]
// where nothing else is said, C the heads one after the other. What may be null is marked.
// eyas/native/pointwise.py writes the same fields in the same order.
#pragma once

#include <cstdint>

namespace eyas {

constexpr int64_t kMostMixes = 8;
// Tokens of one piece of work: gradients of parameters are summed piece by piece, so that the
// result does not depend on the number of threads.
constexpr int64_t kPiece = 32;

// The tokens of piece number `number`.
struct Piece {
    int64_t begin, end;

    Piece(int64_t number, int64_t tokens)
        : begin(number * kPiece), end(begin + kPiece < tokens ? begin + kPiece : tokens) {}
};

// Inputs mixed with those of the token before.
template <class T>
struct Mix {
    int64_t batch, length, width, count;
    const T *x, *last;            // last: [B, C]
    const T* mix[kMostMixes];     // [C]
    const T* offset[kMostMixes];  // added to mix for each token; null: nothing
    const uint8_t* starts;        // [B, T]; null: no token begins a document
    T* out[kMostMixes];
    const T* d_out[kMostMixes];   // null: zeros
    T *d_x, *d_last;
    T* d_offset[kMostMixes];      // null: not wanted
    T* d_mix;                     // [pieces, count, C]; null: not wanted
};

// From the linears of RWKV-7's time mix to the operator's arguments.
template <class T>
struct Goose {
    int64_t tokens, heads, size;
    const T *w, *a, *k;
    const T *mix, *v, *first;                 // null in layer 0, whose values are first
    const T *w0, *a0, *v0, *k_k, *k_a;        // [C]
    T *log_decay, *key, *value, *removal, *replacement;
    const T *d_log_decay, *d_key, *d_value, *d_removal, *d_replacement;
    T *d_w, *d_a, *d_k, *d_mix, *d_v, *d_first;
    T* d_parameters;                          // [pieces, 5, C]; null: not wanted
};

// From the operator's result to what the output linear reads.
template <class T>
struct Gated {
    int64_t tokens, heads, size, silu;
    T eps;
    const T *y, *gate;
    const T *weight, *bias;      // [C]
    const T *r, *k, *v, *r_k;    // of RWKV-7, r_k [C]; null in the others
    T* out;
    const T* d_out;
    T *d_y, *d_gate, *d_r, *d_k, *d_v;
    T* d_parameters;             // [pieces, 3, C]; null: not wanted
};

// The logits of some positions, [M, V], turned into their gradient.
template <class T>
struct Softmax {
    int64_t rows, size, gradient;
    T l2;
    T* logits;
    const int64_t* targets;
    T* loss;  // [M]
};

template <class T>
struct Squared {
    int64_t count;
    const T* x;
    T* out;
    const T* d_out;
    T* d_x;
};

// Each does piece number `piece` of a call.
template <class T>
struct Pointwise {
    void (*mix)(const Mix<T>& call, int64_t piece);
    void (*mix_backward)(const Mix<T>& call, int64_t piece);
    void (*goose)(const Goose<T>& call, int64_t piece);
    void (*goose_backward)(const Goose<T>& call, int64_t piece);
    void (*gated)(const Gated<T>& call, int64_t piece);
    void (*gated_backward)(const Gated<T>& call, int64_t piece);
    void (*softmax)(const Softmax<T>& call, int64_t row);
    void (*squared)(const Squared<T>& call, int64_t begin, int64_t end);
    void (*squared_backward)(const Squared<T>& call, int64_t begin, int64_t end);
};

}  // namespace eyas
