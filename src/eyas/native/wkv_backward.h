// The WKV operators backward, for one head.
//
// The states of a chunk are computed again from the one kept before it, for a few values i at a
// time, and the tokens are gone through in reverse. Vectors hold keys j, since the gradients of
// r, w, k, a, b are sums over i. With S the state before token t, G the gradient of the state after
// it but for what y_t adds, d the gradient of y_t, u = S a and h = (G + d r^T) b:
//
//     RWKV-7   dr = w (S^T d) + b (u.d) + k (v.d)    dk = G^T v + r (v.d)    dv = G k + d (r.k)
//              dw = colsum(G * S) + r (S^T d)        db = G^T u + r (u.d)    da = S^T h
//              G <- G w + d (r w)^T + h a^T
//     RWKV-6   dr = S^T d + bonus k (v.d)            dk = G^T v + bonus r (v.d)
//              dw = colsum(G * S)                    dv = G k + d (bonus.k.r)
//              G <- G w + d r^T
//
// G k and G b of the token before are summed in the pass that makes its G: one pass a token.
#pragma once

#include "wkv_head.h"

namespace EYAS_TARGET {

constexpr int kRows = 4;  // values at a time

// What is kept of each token of a chunk: for each vector of keys, one vector of each of these, side
// by side. READ is r w, or r in RWKV-6; K and B are those of the token before; the others are sums.
enum Field { W, READ, A, K, B, S_D, G_S, G_V, S_H, G_U, FIELDS };

template <class T>
struct BackwardTensors {
    int64_t columns, rows;   // the size filled up to whole vectors, and to kRows
    T* fields;               // [slots, columns / L, FIELDS, L]
    T *v, *d, *u;            // [slots, rows]
    T *vd, *ud, *rk, *rb;    // [slots]: dot products; in RWKV-6 rk is bonus.k.r
    T* states;               // [slots, columns / L, kRows, L], before each token
    T *G, *fresh;            // [rows / kRows, columns / L, kRows, L]; the gradient of fresh
    T *Gk, *Gb;              // [rows]

    BackwardTensors(Scratch<T>& scratch, int64_t size)
        : columns(rounded_up(size, kLanes<T>)), rows(rounded_up(size, kRows)) {
        fields = scratch.take(kChunk * columns * FIELDS);
        for (T** one : {&v, &d, &u}) *one = scratch.take(kChunk * rows);
        for (T** one : {&vd, &ud, &rk, &rb}) *one = scratch.take(kChunk);
        states = scratch.take(kChunk * kRows * columns);
        for (T** one : {&G, &fresh}) *one = scratch.take(rows * columns);
        for (T** one : {&Gk, &Gb}) *one = scratch.take(rows);
    }

    T* field(int64_t slot, int64_t j) const { return fields + (slot * columns + j) * FIELDS; }
};

// Values [first, first + kRows) of a state [N, N], or zeros, in the form of the tensors above.
template <class T>
void read_rows(T* to, const T* from, int64_t first, int64_t size) {
    for (int64_t j = 0; j < size; j += kLanes<T>) {
        for (int64_t i = first; i < first + kRows; ++i, to += kLanes<T>) {
            const int64_t count = from && i < size ? size - j : 0;
            store(to, load_part(count ? from + i * size + j : from, count));
        }
    }
}

template <class T>
void write_rows(T* to, const T* from, int64_t first, int64_t size) {
    for (int64_t j = 0; j < size; j += kLanes<T>) {
        for (int64_t i = first; i < first + kRows; ++i, from += kLanes<T>) {
            if (i < size) store_part(to + i * size + j, load(from), size - j);
        }
    }
}

// Reads the tokens of a chunk.
template <class T, bool SEVEN>
void gather(const Head<T>& at, const BackwardTensors<T>& my, int64_t begin, int64_t end) {
    constexpr int L = kLanes<T>;
    const Call<T>& call = at.call;
    const int64_t size = at.size;
    for (int64_t t = begin; t < end; ++t) {
        const int64_t token = at.token(t), slot = t - begin, before = at.token(t > 0 ? t - 1 : 0);
        // Of the chunk that comes next: its tokens lie apart, and no processor would guess them.
        const int64_t ahead = at.token(t > kChunk ? t - kChunk : 0);
        for (const T* tensor : {call.r, call.decay, call.k, call.v, call.d_out}) {
            prefetch(tensor + ahead, size);
        }
        if constexpr (SEVEN) {
            for (const T* tensor : {call.a, call.b}) prefetch(tensor + ahead, size);
            prefetch(call.u + ahead, size);
        }
        Vec<T> vd{}, ud{}, rk{}, rb{};
        for (int64_t j = 0; j < size; j += L) {
            const auto part = [&](const T* tensor, int64_t where) {
                return load_part(tensor + where + j, size - j);
            };
            T* const field = my.field(slot, j);
            const Vec<T> r = part(call.r, token), w = part(call.decay, token);
            const Vec<T> v = part(call.v, token), d = part(call.d_out, token);
            vd += v * d;
            store_part(my.v + slot * my.rows + j, v, my.rows - j);
            store_part(my.d + slot * my.rows + j, d, my.rows - j);
            store(field + W * L, w);
            store(field + K * L, part(call.k, before));
            for (int sum : {S_D, G_S, G_V, S_H, G_U}) store(field + sum * L, Vec<T>{});
            if constexpr (SEVEN) {
                const Vec<T> u = part(call.u, token);
                ud += u * d;
                rk += r * part(call.k, token);
                rb += r * part(call.b, token);
                store_part(my.u + slot * my.rows + j, u, my.rows - j);
                store(field + READ * L, r * w);
                store(field + A * L, part(call.a, token));
                store(field + B * L, part(call.b, before));
            } else {
                store(field + READ * L, r);
            }
        }
        my.vd[slot] = lane_sum<T>(vd), my.ud[slot] = lane_sum<T>(ud);
        my.rk[slot] = SEVEN ? lane_sum<T>(rk) : at.own(t), my.rb[slot] = lane_sum<T>(rb);
    }
}

// Values [first, first + kRows) of the states before each token of a chunk.
template <class T, bool SEVEN>
void recompute(
    const Head<T>& at, const BackwardTensors<T>& my, int64_t begin, int64_t end, int64_t first
) {
    constexpr int L = kLanes<T>;
    const int64_t columns = my.columns;
    read_rows(my.states, at.call.kept + at.kept(begin), first, at.size);
    for (int64_t t = begin; t < end; ++t) {
        const int64_t slot = t - begin;
        T* const states = my.states + slot * kRows * columns;
        if (at.starts(t)) read_rows(states, at.fresh(), first, at.size);
        if (t + 1 == end) break;
        const T *const v = my.v + slot * my.rows + first, *const u = my.u + slot * my.rows + first;
        for (int64_t j = 0; j < columns; j += L) {
            const T *const field = my.field(slot, j), *const next = my.field(slot + 1, j);
            const T* const from = states + j * kRows;
            T* const to = states + (columns + j) * kRows;
            const Vec<T> w = load(field + W * L), k = load(next + K * L);
            for (int i = 0; i < kRows; ++i) {
                Vec<T> s = load(from + i * L) * w + k * v[i];
                if constexpr (SEVEN) s += load(next + B * L) * u[i];
                store(to + i * L, s);
            }
        }
    }
}

// One token of kRows values: adds to its sums, and makes G, Gk and Gb those of the token before.
// fields, states and G begin at its first vector; v, d, u, h, Gk, Gb [kRows].
template <class T, bool SEVEN>
void backward_token(
    int64_t columns, T* fields, const T* states, T* G, const T* v, const T* d, const T* u,
    const T* h, T* Gk, T* Gb
) {
    constexpr int L = kLanes<T>;
    Vec<T> sum_k[kRows] = {}, sum_b[kRows] = {};
    for (int64_t j = 0; j < columns; j += L) {
        const Vec<T> w = load(fields + W * L), read = load(fields + READ * L);
        Vec<T> s_d = load(fields + S_D * L), g_s = load(fields + G_S * L);
        Vec<T> g_v = load(fields + G_V * L), s_h{}, g_u{};
        if constexpr (SEVEN) s_h = load(fields + S_H * L), g_u = load(fields + G_U * L);
        for (int i = 0; i < kRows; ++i) {
            const Vec<T> s = load(states + i * L);
            Vec<T> g = load(G + i * L);
            s_d += s * d[i];
            g_s += s * g;
            g_v += g * v[i];
            if constexpr (SEVEN) {
                s_h += s * h[i];
                g_u += g * u[i];
            }
            g = g * w + read * d[i];
            if constexpr (SEVEN) {
                g += load(fields + A * L) * h[i];
                sum_b[i] += g * load(fields + B * L);
            }
            sum_k[i] += g * load(fields + K * L);
            store(G + i * L, g);
        }
        store(fields + S_D * L, s_d), store(fields + G_S * L, g_s), store(fields + G_V * L, g_v);
        if constexpr (SEVEN) store(fields + S_H * L, s_h), store(fields + G_U * L, g_u);
        fields += FIELDS * L, states += kRows * L, G += kRows * L;
    }
    lane_sums<T, kRows>(sum_k, Gk);
    if constexpr (SEVEN) lane_sums<T, kRows>(sum_b, Gb);
}

// The values [first, first + kRows) through a chunk, in reverse. Writes the gradient of v.
template <class T, bool SEVEN>
void backward_rows(
    const Head<T>& at, const BackwardTensors<T>& my, int64_t begin, int64_t end, int64_t first
) {
    const int64_t columns = my.columns, size = at.size;
    T *const G = my.G + first * columns, *const fresh = my.fresh + first * columns;
    T *const Gk = my.Gk + first, *const Gb = my.Gb + first;
    recompute<T, SEVEN>(at, my, begin, end, first);
    if (begin > 0) prefetch(at.call.kept + at.kept(begin - 1) + first * size, kRows * size);
    for (int64_t t = end - 1; t >= begin; --t) {
        const int64_t slot = t - begin, rows = slot * my.rows + first;
        const T *const d = my.d + rows, *const states = my.states + slot * kRows * columns;
        T* const d_v = at.call.d_v + at.token(t) + first;
        T h[kRows] = {};
        for (int i = 0; i < kRows; ++i) {
            if constexpr (SEVEN) h[i] = Gb[i] + d[i] * my.rb[slot];
            if (first + i < size) d_v[i] = Gk[i] + d[i] * my.rk[slot];
        }
        backward_token<T, SEVEN>(
            columns, my.field(slot, 0), states, G, my.v + rows, d, my.u + rows, h, Gk, Gb
        );
        if (!at.starts(t)) continue;
        for (int64_t n = 0; n < kRows * columns; ++n) fresh[n] += G[n];
        std::memset(G, 0, kRows * columns * sizeof(T));
        for (int i = 0; i < kRows; ++i) Gk[i] = Gb[i] = 0;
    }
}

// From a chunk's sums to the gradients of r, log_decay, k, a and b.
template <class T, bool SEVEN>
void finish(const Head<T>& at, const BackwardTensors<T>& my, int64_t begin, int64_t end) {
    constexpr int L = kLanes<T>;
    const Call<T>& call = at.call;
    const int64_t size = at.size;
    for (int64_t t = begin; t < end; ++t) {
        const int64_t token = at.token(t), slot = t - begin;
        const T vd = my.vd[slot], ud = my.ud[slot];
        for (int64_t j = 0; j < size; j += L) {
            const T* const field = my.field(slot, j);
            const auto read = [&](const T* tensor) { return load_part(tensor + token + j, size - j); };
            const auto write = [&](T* tensor, const Vec<T>& vec) {
                store_part(tensor + token + j, vec, size - j);
            };
            const Vec<T> r = read(call.r), k = read(call.k), w = load(field + W * L);
            const Vec<T> s_d = load(field + S_D * L), g_s = load(field + G_S * L);
            const Vec<T> g_v = load(field + G_V * L);
            if constexpr (SEVEN) {
                write(call.d_r, w * s_d + read(call.b) * ud + k * vd);
                write(call.d_log_decay, w * (g_s + r * s_d));
                write(call.d_k, g_v + r * vd);
                write(call.d_a, load(field + S_H * L));
                write(call.d_b, load(field + G_U * L) + r * ud);
            } else {
                const Vec<T> bonus = load_part(call.bonus + at.head * size + j, size - j);
                write(call.d_r, s_d + bonus * k * vd);
                write(call.d_log_decay, w * g_s);
                write(call.d_k, g_v + bonus * r * vd);
            }
        }
    }
}

// Adds a chunk's part of the gradient of RWKV-6's bonus. Summing the chunk first keeps more digits.
template <class T>
void add_bonus(const Head<T>& at, const BackwardTensors<T>& my, int64_t begin, int64_t end) {
    const int64_t size = at.size;
    for (int64_t j = 0; j < size; j += kLanes<T>) {
        const auto read = [&](const T* tensor) { return load_part(tensor + j, size - j); };
        T* const bonus = at.call.d_bonus + (at.row * at.call.heads + at.head) * size;
        Vec<T> sum{};
        for (int64_t t = begin; t < end; ++t) {
            const int64_t token = at.token(t);
            sum += read(at.call.k + token) * read(at.call.r + token) * my.vd[t - begin];
        }
        store_part(bonus + j, read(bonus) + sum, size - j);
    }
}

// G of the last token, and its Gk and Gb.
template <class T, bool SEVEN>
void begin_backward(const Head<T>& at, const BackwardTensors<T>& my) {
    const Call<T>& call = at.call;
    const int64_t size = at.size, last = at.token(call.length - 1);
    if (!call.d_last) return;
    for (int64_t i = 0; i < size; ++i) {
        const T* const G = call.d_last + at.state() + i * size;
        if (i % kRows == 0) read_rows(my.G + i * my.columns, call.d_last + at.state(), i, size);
        for (int64_t j = 0; call.length && j < size; ++j) {
            my.Gk[i] += G[j] * call.k[last + j];
            if constexpr (SEVEN) my.Gb[i] += G[j] * call.b[last + j];
        }
    }
}

template <class T, bool SEVEN>
void backward(const Call<T>& call, int64_t number, T* memory) {
    const Head<T> at(call, number);
    const int64_t size = at.size;
    Scratch<T> scratch{memory};
    const BackwardTensors<T> my(scratch, size);
    std::memset(memory, 0, scratch.used * sizeof(T));
    begin_backward<T, SEVEN>(at, my);
    for (int64_t begin = rounded_up(call.length, kChunk) - kChunk; begin >= 0; begin -= kChunk) {
        const int64_t end = begin + kChunk < call.length ? begin + kChunk : call.length;
        gather<T, SEVEN>(at, my, begin, end);
        for (int64_t i = 0; i < size; i += kRows) backward_rows<T, SEVEN>(at, my, begin, end, i);
        finish<T, SEVEN>(at, my, begin, end);
        if constexpr (!SEVEN) add_bonus(at, my, begin, end);
    }
    for (int64_t i = 0; i < size; i += kRows) {
        write_rows(call.d_state + at.state(), my.G + i * my.columns, i, size);
        if (!call.d_fresh) continue;
        write_rows(call.d_fresh + at.state(), my.fresh + i * my.columns, i, size);
    }
}

}  // namespace EYAS_TARGET
