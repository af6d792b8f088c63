// Products of few vectors with a weight, y[r, o] = sum_i x[r, i] W[o, i], as one value of
// EYAS_TARGET. The weight is read once, and each sum is made in one order, whatever the
// number of vectors, of threads, and of rows that are taken together.
#pragma once

#include "matvec_read.h"

namespace EYAS_TARGET {

using eyas::kGroupRows;

// OUT rows of the weight from `row` on, the last one again where there are fewer, by ROWS of x.
template <class Weight, int OUT, int ROWS>
inline void sum_group(const Product& product, int64_t first_row, int64_t row, int64_t end) {
    constexpr int L = kLanes<float>;
    const int64_t in = product.in;
    const float* const x = product.x + first_row * in;
    Weight weights[OUT];
    for (int o = 0; o < OUT; ++o) weights[o].begin(product, row + o < end ? row + o : end - 1);
    Vec<float> sums[ROWS][OUT] = {};
    int64_t i = 0;
    for (; i + int64_t(kBlock) <= in; i += kBlock) {
        for (int o = 0; o < OUT; ++o) weights[o].enter(product, i);
        // One vector with a float32 weight keeps up with what the processor reads ahead by itself.
        if (first_row == 0 && (Weight::kNarrow || ROWS > 1)) {
            for (int o = 0; o < OUT; ++o) weights[o].ask_ahead(product);
        }
        for (int n = 0; n < int(kBlock) / L; ++n) {
            for (int o = 0; o < OUT; ++o) {
                const Vec<float> w = weights[o].at(n);
                for (int r = 0; r < ROWS; ++r) sums[r][o] += w * load(x + r * in + i + n * L);
            }
        }
    }
    if constexpr (Weight::kParts) {
        for (; i < in; i += L) {
            const int64_t count = in - i < L ? in - i : L;
            for (int o = 0; o < OUT; ++o) {
                const Vec<float> w = weights[o].part(i, count);
                for (int r = 0; r < ROWS; ++r) sums[r][o] += w * load_part(x + r * in + i, count);
            }
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        float y[OUT];
        lane_sums<float>(sums[r], y);
        const int64_t count = end - row < OUT ? end - row : OUT;
        std::memcpy(product.y + (first_row + r) * product.stride + row, y, count * sizeof(float));
    }
}

template <class Weight>
inline void sum_rows(const Product& product, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {
        if (product.rows == 1 && row + kGroupRows <= end) {
            sum_group<Weight, kGroupRows, 1>(product, 0, row, end);
            row += kGroupRows;
            continue;
        }
        int64_t r = 0;
        for (; r + EYAS_ROWS <= product.rows; r += EYAS_ROWS) {
            sum_group<Weight, 4, EYAS_ROWS>(product, r, row, end);
        }
        for (; r < product.rows; ++r) sum_group<Weight, 4, 1>(product, r, row, end);
        row += 4;
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

// Scales that are codes themselves are decoded for a group of rows at once.
inline void expand_and_sum(const Product& product, int64_t begin, int64_t end, float* scratch) {
    const int64_t blocks_a_row = product.in / kBlock;
    for (int64_t row = begin; row < end; row += kGroupRows) {
        const int64_t count = end - row < kGroupRows ? end - row : kGroupRows;
        const int64_t first = row * blocks_a_row, last = first + count * blocks_a_row;
        const uint8_t* const codes = static_cast<const uint8_t*>(product.scales);
        for (int64_t i = first; i < last;) {
            const int64_t shared = (i / 256 + 1) * 256, stop = shared < last ? shared : last;
            const float largest = product.maxima[i / 256], offset = product.offset[0];
            for (; i < stop; ++i) scratch[i - first] = product.levels[codes[i]] * largest + offset;
        }
        Product single = product;
        single.weight = static_cast<const uint8_t*>(product.weight) + row * product.in / 2;
        single.scales = scratch;
        single.y += row;
        sum_rows<FourBits>(single, 0, count);
    }
}

template <class T>
void plain(const Product& product, int64_t begin, int64_t end, float*) {
    sum_rows<Plain<T>>(product, begin, end);
}

template <class S>
void int8(const Product& product, int64_t begin, int64_t end, float* scratch) {
    if (product.in % kBlock == 0) sum_rows<Int8<S>>(product, begin, end);
    else decode_and_sum(product, begin, end, scratch, int8_at<S>);
}

template <bool DOUBLE>
void four_bits(const Product& product, int64_t begin, int64_t end, float* scratch) {
    if (product.in % kBlock != 0) {
        decode_and_sum(product, begin, end, scratch, four_bits_at<DOUBLE>);
    } else if (DOUBLE) {
        expand_and_sum(product, begin, end, scratch);
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
        {plain<float>, plain<Bfloat16>, plain<Float16>, int8<Float16>, int8<float>,
         four_bits<false>, four_bits<true>},
        part,
    };
}

}  // namespace EYAS_TARGET
