// Inputs mixed with those of the token before, for a piece of tokens.
#pragma once

#include <cstring>

#include "elementary.h"
#include "pointwise.h"

namespace EYAS_TARGET {

using eyas::Mix;

template <class T>
inline bool starts_at(const Mix<T>& call, int64_t token) {
    return call.starts && call.starts[token];
}

// The input of the token before; null for zeros.
template <class T>
inline const T* previous_of(const Mix<T>& call, int64_t token) {
    if (starts_at(call, token)) return nullptr;
    const bool first = token % call.length == 0;
    return first ? call.last + token / call.length * call.width : call.x + (token - 1) * call.width;
}

// out[c] = x + (previous - x) m
template <class T>
void mix(const Mix<T>& call, int64_t piece) {
    const int64_t width = call.width;
    const eyas::Piece tokens(piece, call.batch * call.length);
    for (int64_t token = tokens.begin; token < tokens.end; ++token) {
        const T* const x = call.x + token * width;
        const T* const previous = previous_of(call, token);
        for (int64_t i = 0; i < call.count; ++i) {
            const T* const m = call.mix[i];
            T* const out = call.out[i] + token * width;
            if (call.offset[i]) {
                const T* const more = call.offset[i] + token * width;
                if (previous) {
                    EYAS_APART
                    for (int64_t c = 0; c < width; ++c) {
                        out[c] = x[c] + (previous[c] - x[c]) * (m[c] + more[c]);
                    }
                } else {
                    EYAS_APART
                    for (int64_t c = 0; c < width; ++c) out[c] = x[c] - x[c] * (m[c] + more[c]);
                }
            } else if (previous) {
                EYAS_APART
                for (int64_t c = 0; c < width; ++c) out[c] = x[c] + (previous[c] - x[c]) * m[c];
            } else {
                EYAS_APART
                for (int64_t c = 0; c < width; ++c) out[c] = x[c] - x[c] * m[c];
            }
        }
    }
}

// d_x[c] += sum over i of d_out_i * (m_i, or 1 - m_i)
template <class T, bool OWN>
void add_shares(const Mix<T>& call, int64_t token, T* d_x) {
    const int64_t width = call.width;
    for (int64_t i = 0; i < call.count; ++i) {
        if (!call.d_out[i]) continue;
        const T *d = call.d_out[i] + token * width, *m = call.mix[i];
        if (call.offset[i]) {
            const T* const more = call.offset[i] + token * width;
            EYAS_APART
            for (int64_t c = 0; c < width; ++c) {
                d_x[c] += d[c] * (OWN ? 1 - m[c] - more[c] : m[c] + more[c]);
            }
        } else {
            EYAS_APART
            for (int64_t c = 0; c < width; ++c) d_x[c] += d[c] * (OWN ? 1 - m[c] : m[c]);
        }
    }
}

template <class T>
void mix_backward(const Mix<T>& call, int64_t piece) {
    const int64_t width = call.width;
    const eyas::Piece tokens(piece, call.batch * call.length);
    for (int64_t token = tokens.begin; token < tokens.end; ++token) {
        T* const d_x = call.d_x + token * width;
        std::memset(d_x, 0, width * sizeof(T));
        add_shares<T, true>(call, token, d_x);
        const bool is_last = (token + 1) % call.length == 0;
        if (!is_last && !starts_at(call, token + 1)) add_shares<T, false>(call, token + 1, d_x);
        if (token % call.length == 0) {
            T* const d_last = call.d_last + token / call.length * width;
            std::memset(d_last, 0, width * sizeof(T));
            if (!starts_at(call, token)) add_shares<T, false>(call, token, d_last);
        }
        const T* const x = call.x + token * width;
        const T* const previous = previous_of(call, token);
        for (int64_t i = 0; i < call.count; ++i) {
            if (!call.d_out[i]) continue;
            const T* const d = call.d_out[i] + token * width;
            if (call.d_offset[i]) {
                T* const d_offset = call.d_offset[i] + token * width;
                EYAS_APART
                for (int64_t c = 0; c < width; ++c) {
                    d_offset[c] = d[c] * ((previous ? previous[c] : T(0)) - x[c]);
                }
            }
            if (call.d_mix) {
                T* const d_mix = call.d_mix + (piece * call.count + i) * width;
                EYAS_APART
                for (int64_t c = 0; c < width; ++c) {
                    d_mix[c] += d[c] * ((previous ? previous[c] : T(0)) - x[c]);
                }
            }
        }
    }
}

}  // namespace EYAS_TARGET
