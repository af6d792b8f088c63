// The kernels for every processor of this kind: SSE2, NEON.
#define EYAS_TARGET baseline
#define EYAS_VECTOR_BYTES 16
#define EYAS_UNROLL 2
#define EYAS_ROWS 4
#define EYAS_TILE_ROWS 4
#define EYAS_TILE_WEIGHTS 1
#include "target_kernels.h"
