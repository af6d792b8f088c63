#include "token7.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "matvec_run.h"

namespace eyas {

namespace {

// A thread more is worth waking for so many numbers of the state.
constexpr int64_t kWorthAThread = 1 << 14;

// The numbers between the products, each [rows, its width].
class Token {
   public:
    Token(const Model7& model, const FewRows& target, int64_t threads, int64_t rows)
        : model_(model), target_(target), threads_(threads), rows_(rows), width_(model.width) {
        const Layer7* const layers = model.layers;
        int64_t inner = model.ffn_width;
        for (int64_t i = 0; i < model.num_layers; ++i) {
            const Layer7& layer = layers[i];
            int64_t ranks = 0;
            for (const Matrix* m : {&layer.w1, &layer.a1, &layer.v1, &layer.g1}) ranks += m->out;
            inner = std::max(inner, ranks);
        }
        const int64_t wide = rows * width_;
        memory_.reset(new float[kVectors * wide + rows * inner]);
        float* place = memory_.get();
        for (float** vector : {&x, &normed, &r, &k, &v, &first_value, &w, &a, &value_gate, &g, &y}) {
            *vector = place;
            place += wide;
        }
        for (float*& vector : mixed) {
            vector = place;
            place += wide;
        }
        inner_ = place;
    }

    void layer(const Layer7& layer, bool first, const float* const* before, float* const* after) {
        if (layer.ln0_weight) norm(layer.ln0_weight, layer.ln0_bias, x, x);
        norm(layer.ln1_weight, layer.ln1_bias, x, after[0]);
        time_mix(layer, first, before, after);
        norm(layer.ln2_weight, layer.ln2_bias, x, after[2]);
        channel_mix(layer, before[2], after[2]);
    }

    void end(float* hidden) const { norm(model_.ln_out_weight, model_.ln_out_bias, x, hidden); }

    float* x;

   private:
    static constexpr int64_t kVectors = 17;

    Products some() const { return Products(target_.products, threads_); }

    void add(Products& products, const Matrix& m, const float* from, float* to) const {
        products.add(m.storage, {rows_, m.in, m.out, m.out, m.in, from, to, m.weight, m.scales, m.maxima,
                                 m.offset, m.values, m.levels});
    }

    void norm(const float* weight, const float* bias, const float* from, float* to) const {
        for (int64_t row = 0; row < rows_; ++row) {
            target_.token7.layer_norm(from + row * width_, weight, bias, width_, to + row * width_);
        }
    }

    void mix(const float* now, const float* last, const float* by, float* to) const {
        for (int64_t row = 0; row < rows_; ++row) {
            const int64_t at = row * width_;
            target_.token7.mix(now + at, last + at, by, width_, to + at);
        }
    }

    void add_to_x(const float* change) {
        for (int64_t i = 0; i < rows_ * width_; ++i) x[i] += change[i];
    }

    void time_mix(const Layer7& layer, bool first, const float* const* before, float* const* after) {
        const float* const mixes[] = {layer.x_r, layer.x_k, layer.x_v, layer.x_w, layer.x_a, layer.x_g};
        for (int i = 0; i < 6; ++i) mix(after[0], before[0], mixes[i], mixed[i]);
        float* const own_value = first ? first_value : v;
        float* inner[4];
        const Matrix* const down[] = {&layer.w1, &layer.a1, &layer.v1, &layer.g1};
        const float* const from[] = {mixed[3], mixed[4], mixed[2], mixed[5]};
        Products products = some();
        add(products, layer.receptance, mixed[0], r);
        add(products, layer.key, mixed[1], k);
        add(products, layer.value, mixed[2], own_value);
        float* place = inner_;
        for (int i = 0; i < 4; ++i) {
            inner[i] = place;
            if (!down[i]->weight) continue;
            add(products, *down[i], from[i], place);
            place += rows_ * down[i]->out;
        }
        products.run();
        for (int64_t i = 0; i < rows_ * layer.w1.out; ++i) inner[0][i] = std::tanh(inner[0][i]);
        for (int64_t i = 0; i < rows_ * layer.g1.out; ++i) {
            inner[3][i] = 1 / (1 + std::exp(-inner[3][i]));
        }
        const Matrix* const up[] = {&layer.w2, &layer.a2, &layer.v2, &layer.g2};
        float* const to[] = {w, a, value_gate, g};
        for (int i = 0; i < 4; ++i) {
            if (up[i]->weight) add(products, *up[i], inner[i], to[i]);
        }
        products.run();
        heads(layer, own_value, first || !layer.v2.weight, before[1], after[1]);
        add(products, layer.output, y, normed);
        products.run();
        add_to_x(normed);
    }

    void heads(const Layer7& layer, const float* value, bool own, const float* before, float* after) {
        const int64_t num_heads = model_.num_heads, size = width_ / num_heads;
        const int64_t count = rows_ * num_heads, work = count * size * size;
        share(std::min(threads_, 1 + work / kWorthAThread), count, [&](int64_t number) {
            const int64_t at = number * size, c = number % num_heads * size;
            target_.token7.head({size, r + at, k + at, w + at, a + at, g + at,
                                 own ? nullptr : value_gate + at, first_value + at, layer.w0 + c,
                                 layer.a0 + c, own ? nullptr : layer.v0 + c, layer.k_k + c,
                                 layer.k_a + c, layer.r_k + c, layer.ln_x_weight + c,
                                 layer.ln_x_bias + c, value + at, before + at * size,
                                 after + at * size, y + at});
        });
    }

    void channel_mix(const Layer7& layer, const float* last, const float* now) {
        mix(now, last, layer.ffn_x_k, mixed[0]);
        Products products = some();
        add(products, layer.ffn_key, mixed[0], inner_);
        products.run();
        for (int64_t i = 0; i < rows_ * layer.ffn_key.out; ++i) {
            const float positive = inner_[i] > 0 ? inner_[i] : 0;
            inner_[i] = positive * positive;
        }
        add(products, layer.ffn_value, inner_, normed);
        products.run();
        add_to_x(normed);
    }

    const Model7& model_;
    const FewRows& target_;
    const int64_t threads_, rows_, width_;
    std::unique_ptr<float[]> memory_;
    float *normed, *r, *k, *v, *first_value, *w, *a, *value_gate, *g, *y;
    float* mixed[6];  // for r, k, v, w, a, g
    float* inner_;
};

}  // namespace

void token7(const Model7& model, const FewRows& target, int64_t threads, int64_t rows, const float* x,
            const float* const* before, float* const* after, float* hidden) {
    Token token(model, target, threads, rows);
    std::memcpy(token.x, x, rows * model.width * sizeof(float));
    for (int64_t i = 0; i < model.num_layers; ++i) {
        token.layer(model.layers[i], i == 0, before + 3 * i, after + 3 * i);
    }
    token.end(hidden);
}

}  // namespace eyas
