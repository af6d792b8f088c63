// Products of few vectors with a weight, y[r, o] = sum_i x[r, i] W[o, i], as one value of
// EYAS_TARGET. The weight is read once, and each sum is made in one order, whatever the
// number of vectors, of threads, and of rows that are taken together.
#pragma once

#include "matvec_read.h"

namespace EYAS_TARGET {

using eyas::kGroupRows;

// Sums that do not wait for each other: an addition takes longer than the next one may begin.
constexpr int kChains = 2;

template <int ROWS>
using Sums = Vec<float>[ROWS][kChains];

// Few rows of x wait for the weight, and asking for much of it would be in the way. More rows compute
// meanwhile, so slowly that the processor does not read ahead by itself.
constexpr int kComputingRows = 4;
constexpr int64_t kFarAhead = 8192;

// Adds to the sums of one row of the weight with ROWS of x what the columns [begin, end) give; the
// sums are spread over the lanes of a vector. later: what is to be read about kFarAhead bytes on.
template <class T, int ROWS>
inline void add_row(const Plain<T>& weight, const Product& product, const float* x, int64_t begin,
                    int64_t end, const Plain<T>& later, int64_t later_begin, Sums<ROWS>& sums) {
    constexpr int L = kLanes<float>;
    const int64_t stride = product.x_stride;
    Sums<ROWS> own = {};
    for (int r = 0; begin > 0 && r < ROWS; ++r) {
        for (int c = 0; c < kChains; ++c) own[r][c] = sums[r][c];
    }
    int64_t i = begin;
    for (; i + int64_t(kBlock) <= end; i += kBlock) {
        if (ROWS < kComputingRows) ask_ahead(weight.row + i, kBlock * sizeof(T));
        else ask(later.row + later_begin + i - begin, kBlock * sizeof(T));
        for (int64_t j = i; j < i + int64_t(kBlock); j += kChains * L) {
            for (int c = 0; c < kChains; ++c) {
                const Vec<float> w = widen(weight.row + j + c * L);
                for (int r = 0; r < ROWS; ++r) {
                    own[r][c] = multiply_add(w, load(x + r * stride + j + c * L), own[r][c]);
                }
            }
        }
    }
    for (; i + L <= end; i += L) {
        const Vec<float> w = widen(weight.row + i);
        for (int r = 0; r < ROWS; ++r) {
            own[r][0] = multiply_add(w, load(x + r * stride + i), own[r][0]);
        }
    }
    if (i < end) {
        const Vec<float> w = weight.part(i, end - i);
        for (int r = 0; r < ROWS; ++r) {
            own[r][0] = multiply_add(w, load_part(x + r * stride + i, end - i), own[r][0]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        for (int c = 0; c < kChains; ++c) sums[r][c] = own[r][c];
    }
}

// The same for codes: the sum of a block is multiplied by its scale.
template <class Weight, int ROWS>
inline void add_row(const Weight& weight, const Product& product, const float* x, int64_t begin,
                    int64_t end, const Weight&, int64_t, Sums<ROWS>& sums) {
    constexpr int L = kLanes<float>;
    const int64_t stride = product.x_stride;
    Vec<float> out[ROWS];
    for (int r = 0; r < ROWS; ++r) out[r] = begin > 0 ? sums[r][0] : Vec<float>{};
    for (int64_t block = begin / kBlock; block < end / int64_t(kBlock); ++block) {
        const float* const own = x + block * kBlock;
        weight.ask_ahead_of(block);
        Sums<ROWS> of_block = {};
        for (int n = 0; n < int(kBlock) / L; n += kChains) {
            for (int c = 0; c < kChains; ++c) {
                const Vec<float> w = weight.at(block, n + c);
                for (int r = 0; r < ROWS; ++r) {
                    const Vec<float> number = load(own + r * stride + (n + c) * L);
                    of_block[r][c] = multiply_add(w, number, of_block[r][c]);
                }
            }
        }
        const Vec<float> scale = everywhere(weight.scales[block]);
        for (int r = 0; r < ROWS; ++r) {
            out[r] = multiply_add(of_block[r][0] + of_block[r][1], scale, out[r]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        sums[r][0] = out[r];
        sums[r][1] = Vec<float>{};
    }
}

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

// So many numbers of x, which every row of the weight meets, leave room in the first cache.
constexpr int64_t kNumbers = 6144;

// `count` rows of the weight from `row` on, at most kGroupRows, by ROWS of x from `first` on. Few
// rows of x read the weight from its beginning to its end: that is what a processor reads ahead best.
template <class Weight, int ROWS>
inline void sum_group(const Product& product, int64_t first, int64_t row, int64_t count) {
    const int64_t in = product.in;
    const int64_t step = ROWS < kComputingRows ? in : lesser(in, kNumbers / ROWS / kBlock * kBlock);
    const int64_t ahead = 1 + kFarAhead / 4 / (step + 1);
    const float* const x = product.x + first * product.x_stride;
    Sums<ROWS> sums[kGroupRows];
    for (int64_t begin = 0; begin < in; begin += step) {
        for (int64_t o = 0; o < count; ++o) {
            int64_t there = o + ahead, later = begin;
            for (; there >= count && later + step < in; later += step) there -= count;
            if (there >= count) later = 0;
            add_row(Weight(product, row + o), product, x, begin, lesser(begin + step, in),
                    Weight(product, row + there), later, sums[o]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        Vec<float> of_rows[kGroupRows];
        for (int o = 0; o < kGroupRows; ++o) {
            of_rows[o] = o < count ? sums[o][r][0] + sums[o][r][1] : Vec<float>{};
        }
        float y[kGroupRows];
        lane_sums<float>(of_rows, y);
        std::memcpy(product.y + (first + r) * product.stride + row, y, count * sizeof(float));
    }
}

// The same for all rows of x from `first` on, ROWS at a time, the last ones by fewer.
template <class Weight, int ROWS>
inline void sum_groups(const Product& product, int64_t first, int64_t row, int64_t count) {
    for (; first + ROWS <= product.rows; first += ROWS) {
        sum_group<Weight, ROWS>(product, first, row, count);
    }
    if constexpr (ROWS > 1) sum_groups<Weight, ROWS / 2>(product, first, row, count);
}

template <class Weight>
inline void sum_rows(const Product& product, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row += kGroupRows) {
        const int64_t count = end - row < kGroupRows ? end - row : kGroupRows;
        sum_groups<Weight, EYAS_ROWS>(product, 0, row, count);
    }
}

// Where blocks go on in the next row, rows are decoded first.
template <class Decode>
inline void decode_and_sum(const Product& product, int64_t begin, int64_t end, float* scratch,
                           Decode value_at) {
    for (int64_t row = begin; row < end; row += kGroupRows) {
        const int64_t count = end - row < kGroupRows ? end - row : kGroupRows;
        for (int64_t i = 0; i < count * product.in; ++i) {
            scratch[i] = value_at(product, row * product.in + i);
        }
        Product dense = product;
        dense.weight = scratch;
        dense.y += row;
        sum_rows<Plain<float>>(dense, 0, count);
    }
}

// Scales that are not float32 are widened for a group of rows at once.
template <class Weight, class Widen>
inline void widen_and_sum(const Product& product, int64_t begin, int64_t end, float* scratch,
                          Widen widen_scales) {
    const int64_t blocks_a_row = product.in / kBlock;
    for (int64_t row = begin; row < end; row += kGroupRows) {
        const int64_t count = end - row < kGroupRows ? end - row : kGroupRows;
        widen_scales(product, row * blocks_a_row, (row + count) * blocks_a_row, scratch);
        Product single = product;
        single.weight = Weight(product, row).row;
        single.scales = scratch;
        single.y += row;
        sum_rows<Weight>(single, 0, count);
    }
}

inline void widen_halves(const Product& product, int64_t first, int64_t last, float* wide) {
    constexpr int L = kLanes<float>;
    const Float16* const scales = static_cast<const Float16*>(product.scales);
    int64_t i = first;
    for (; i + L <= last; i += L) store(wide + i - first, widen(scales + i));
    for (; i < last; ++i) wide[i - first] = widen_one(scales[i]);
}

inline void widen_codes(const Product& product, int64_t first, int64_t last, float* wide) {
    for (int64_t i = first; i < last; ++i) wide[i - first] = four_bit_scale<true>(product, i);
}

template <class T>
void plain(const Product& product, int64_t begin, int64_t end, float*) {
    sum_rows<Plain<T>>(product, begin, end);
}

template <bool HALF>
void int8(const Product& product, int64_t begin, int64_t end, float* scratch) {
    using Scale = std::conditional_t<HALF, Float16, float>;
    if (product.in % kBlock != 0) {
        decode_and_sum(product, begin, end, scratch, int8_at<Scale>);
    } else if (HALF) {
        widen_and_sum<Int8>(product, begin, end, scratch, widen_halves);
    } else {
        sum_rows<Int8>(product, begin, end);
    }
}

template <bool DOUBLE>
void four_bits(const Product& product, int64_t begin, int64_t end, float* scratch) {
    if (product.in % kBlock != 0) {
        decode_and_sum(product, begin, end, scratch, four_bits_at<DOUBLE>);
    } else if (DOUBLE) {
        widen_and_sum<FourBits>(product, begin, end, scratch, widen_codes);
    } else {
        sum_rows<FourBits>(product, begin, end);
    }
}

// x as 4-bit weights are read: of every 4 bytes the code in the lowest 4 bits, which is that of the
// second value, then of every 4 bytes the next code, and so on.
inline void part(const float* x, int64_t count, float* parted) {
    for (int64_t block = 0; block < count; block += kBlock) {
        for (int place = 0; place < int(kBlock); ++place) {
            parted[block + place] = x[block + place % 8 * 8 + (place / 8 ^ 1)];
        }
    }
}

constexpr eyas::ProductTarget products() {
    return {
        {plain<float>, plain<Bfloat16>, plain<Float16>, int8<true>, int8<false>,
         four_bits<false>, four_bits<true>},
        part,
    };
}

}  // namespace EYAS_TARGET
