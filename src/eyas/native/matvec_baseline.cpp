// Products with a weight for every processor of this kind: SSE2, NEON.
#define EYAS_TARGET baseline
#define EYAS_VECTOR_BYTES 16
#define EYAS_ROWS 4
#include "matvec_kernels.h"
#include "token7_kernels.h"

namespace EYAS_TARGET {
extern const eyas::FewRows few_rows;
const eyas::FewRows few_rows = {products(), {layer_norm, mix, head}};
}  // namespace EYAS_TARGET
