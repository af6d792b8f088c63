// The interface of the products and of RWKV-7's tokens.
#include "matvec.h"

#include <new>

#include "export.h"
#include "matvec_run.h"
#include "target.h"

// y[r, o] = sum_i x[r, i] W[o, i]; see eyas::Product. False where memory does not suffice.
EYAS_API bool eyas_product(int64_t storage, int64_t target, int64_t threads, int64_t rows, int64_t in,
                           int64_t out, const float* x, float* y, const void* weight,
                           const void* scales, const float* maxima, const float* offset,
                           const float* values, const float* levels) {
    try {
        const eyas::Product product{rows,   in,     out,    out,    in,     x,      y,
                                    weight, scales, maxima, offset, values, levels};
        eyas::Products products(eyas::target(target).few_rows.products, threads);
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
        eyas::token7(*model, eyas::target(target).few_rows, threads, rows, x, before, after, hidden);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
