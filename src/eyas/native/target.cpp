// Which sets of instructions this processor has.
#include "target.h"

#include <vector>

#include "export.h"
#include "x86.h"

namespace baseline {
extern const eyas::Target target;
}
#if defined(EYAS_X86)
namespace avx2 {
extern const eyas::Target target;
}
namespace avx512 {
extern const eyas::Target target;
}
#endif

namespace {

struct Choice {
    const char* name;
    const eyas::Target* target;
};

// The best one last.
const std::vector<Choice>& choices() {
    static const std::vector<Choice> known = [] {
        std::vector<Choice> found{{"baseline", &baseline::target}};
#if defined(EYAS_X86)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("f16c")) {
            found.push_back({"avx2", &avx2::target});
            if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl")) {
                found.push_back({"avx512", &avx512::target});
            }
        }
#endif
        return found;
    }();
    return known;
}

}  // namespace

const eyas::Target& eyas::target(int64_t number) { return *choices()[number].target; }

// The name of target number `target`, and null past the best one.
EYAS_API const char* eyas_target(int64_t target) {
    const std::vector<Choice>& all = choices();
    return target < static_cast<int64_t>(all.size()) ? all[target].name : nullptr;
}
