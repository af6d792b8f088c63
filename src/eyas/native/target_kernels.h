// All kernels as one value of EYAS_TARGET, `target`.
#pragma once

#include "matvec_kernels.h"
#include "pointwise_gated.h"
#include "pointwise_goose.h"
#include "pointwise_mix.h"
#include "pointwise_rows.h"
#include "target.h"
#include "token7_kernels.h"
#include "wkv_backward.h"
#include "wkv_forward.h"

namespace EYAS_TARGET {

template <class T>
int64_t scratch_size(int64_t size, bool is_backward) {
    Scratch<T> scratch{nullptr};
    if (is_backward) BackwardTensors<T>(scratch, size);
    else ForwardTensors<T>(scratch, size, rounded_up(size, kLanes<T>));
    return scratch.used;
}

template <class T>
constexpr eyas::Kernels<T> kernels() {
    return {
        {forward<T, false>, forward<T, true>, backward<T, false>, backward<T, true>, scratch_size<T>},
        {mix<T>, mix_backward<T>, goose<T>, goose_backward<T>, gated<T>, gated_backward<T>,
         softmax<T>, squared<T>, squared_backward<T>},
    };
}

extern const eyas::Target target;
const eyas::Target target = {kernels<float>(), kernels<double>(), {products(), {layer_norm, mix_vector, head}}};

}  // namespace EYAS_TARGET
