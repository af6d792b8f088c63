// The kernels once for each set of instructions, and the choice among them.
#pragma once

#include "pointwise.h"
#include "wkv.h"

namespace eyas {

template <class T>
struct Kernels {
    Wkv<T> wkv;
    Pointwise<T> pointwise;
};

struct Target {
    Kernels<float> f32;
    Kernels<double> f64;
};

// A number that eyas_target names.
const Target& target(int64_t number);

}  // namespace eyas
