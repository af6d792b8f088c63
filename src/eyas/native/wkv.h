// What the WKV operators work on; see eyas/wkv/reference.py for the recurrences.
#pragma once

#include <cstdint>

namespace eyas {

// A state is kept every so many tokens; the backward computes those between again.
constexpr int64_t kChunk = 16;

// One call. Tensors are [B, T, H, N]; states [B, H, N, N], laid out [value, key]; what may be null
// is marked. eyas/wkv/native.py writes the same fields in the same order.
template <class T>
struct Call {
    int64_t batch, length, heads, size;
    const T *r, *decay, *k, *v;  // decay is exp(log_decay)
    const T *a, *b;              // RWKV-7
    const T* bonus;              // RWKV-6; [H, N]
    const T* state;
    const uint8_t* starts;       // [B, T]; null: no token begins a document
    const T* fresh;              // [H, N, N], what a document begins with; null: zeros
    T *out, *last;               // written by the forward; last is the state after the last token
    T* kept;                     // [B, H, ceil(T / kChunk), N, N]; null where no backward follows
    T* u;                        // RWKV-7: S_{t-1} a_t; null where no backward follows
    const T *d_out, *d_last;     // d_last null: zeros
    T *d_r, *d_log_decay, *d_k, *d_v, *d_a, *d_b;
    T* d_bonus;                  // [B, H, N], zeros at first, to be summed over B
    T* d_state;
    T* d_fresh;                  // [B, H, N, N], to be summed over B; null: not wanted
};

// Computes head number b * H + h.
template <class T>
using Kernel = void (*)(const Call<T>& call, int64_t number, T* scratch);

template <class T>
struct Wkv {
    Kernel<T> forward6, forward7, backward6, backward7;
    int64_t (*scratch)(int64_t size, bool backward);  // numbers, aligned to 64 bytes, that one needs
};

}  // namespace eyas
