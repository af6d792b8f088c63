// The kernels once for each set of instructions, and the choice among them.
#pragma once

#include "pointwise.h"
#include "token7.h"
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
    FewRows few_rows;
};

// A number that eyas_target names.
const Target& target(int64_t number);

}  // namespace eyas
