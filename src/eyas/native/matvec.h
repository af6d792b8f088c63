// Products of few vectors with one weight, W x for each: what is passed in and the table of kernels.
#pragma once

#include <cstdint>

namespace eyas {

// How a weight [out, in] is kept. Quantized ones are blocks of 64 values along the flat weight.
enum Storage : int64_t {
    kFloat32,
    kBfloat16,
    kFloat16,
    kInt8Half,       // codes in -127..127, scales in float16
    kInt8Float,      // the same, scales in float32
    kFourBits,       // two codes a byte, the first in the high bits, scales in float32
    kFourBitsDouble,  // the same, scales as codes: levels[code] * maxima[block / 256] + offset
    kStorages
};

struct Product {
    int64_t rows, in, out;  // rows of x; columns and rows of the weight
    int64_t stride;         // between two rows of y
    int64_t x_stride;       // and of x
    const float* x;         // [rows, x_stride]
    float* y;               // [rows, stride]
    const void* weight;     // numbers or codes
    const void* scales;     // [blocks]: float16, float32, or codes
    const float* maxima;    // [blocks / 256, rounded up]
    const float* offset;    // [1]
    const float* values;    // [16], of the 4-bit codes
    const float* levels;    // [256], of the codes of scales
};

// The widest group of rows of the weight that a kernel takes at once; threads get whole groups.
constexpr int64_t kGroupRows = 8;

struct ProductTarget {
    // y for the rows [begin, end) of the weight; `scratch` holds kGroupRows * in numbers.
    using Kernel = void (*)(const Product&, int64_t begin, int64_t end, float* scratch);
    Kernel kernels[kStorages];
    // x in the order in which the kernels of 4 bits read it.
    void (*part)(const float* x, int64_t count, float* parted);
};

// Values that share a scale.
constexpr uint64_t kBlock = 64;

}  // namespace eyas
