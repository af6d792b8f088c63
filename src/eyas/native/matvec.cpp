// The interface of the products and of RWKV-7's tokens: chooses the kernels for this processor.
#include "matvec.h"

#include <new>
#include <vector>

#include "export.h"
#include "matvec_run.h"
#include "token7.h"
#include "x86.h"

namespace baseline {
extern const eyas::FewRows few_rows;
}
#if defined(EYAS_X86)
namespace avx2 {
extern const eyas::FewRows few_rows;
}
namespace avx512 {
extern const eyas::FewRows few_rows;
}
#endif

namespace {

struct Choice {
    const char* name;
    const eyas::FewRows* target;
};

// The targets that this processor can run, the best one last.
const std::vector<Choice>& choices() {
    static const std::vector<Choice> all = [] {
        std::vector<Choice> found{{"baseline", &baseline::few_rows}};
#if defined(EYAS_X86)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("f16c")) {
            found.push_back({"avx2", &avx2::few_rows});
            if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl")) {
                found.push_back({"avx512", &avx512::few_rows});
            }
        }
#endif
        return found;
    }();
    return all;
}

}  // namespace

// The name of target number `target`, and null past the best one.
EYAS_API const char* eyas_product_target(int64_t target) {
    return target < static_cast<int64_t>(choices().size()) ? choices()[target].name : nullptr;
}

// y[r, o] = sum_i x[r, i] W[o, i]; see eyas::Product. False where memory does not suffice.
EYAS_API bool eyas_product(int64_t storage, int64_t target, int64_t threads, int64_t rows, int64_t in,
                           int64_t out, const float* x, float* y, const void* weight,
                           const void* scales, const float* maxima, const float* offset,
                           const float* values, const float* levels) {
    try {
        const eyas::Product product{rows,   in,     out,    out,    x,      y,
                                    weight, scales, maxima, offset, values, levels};
        eyas::Products products(choices()[target].target->products, threads);
        products.add(storage, product);
        products.run();
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

// One token of each row through an RWKV-7 model; see eyas::Model7. before, after: attention input,
// wkv and ffn input of layer after layer. False where memory does not suffice.
EYAS_API bool eyas_token7(const eyas::Model7* model, int64_t target, int64_t threads, int64_t rows,
                          const float* x, const float* const* before, float* const* after,
                          float* hidden) {
    try {
        eyas::token7(*model, *choices()[target].target, threads, rows, x, before, after, hidden);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
