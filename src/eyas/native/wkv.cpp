// The WKV operators' interface: chooses the kernels for this processor and shares out the heads.
#include "wkv.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "export.h"
#include "x86.h"

#if defined(EYAS_X86)
#include <immintrin.h>
#endif

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

// A thread more is worth starting for so many multiplications.
constexpr double kWorthAThread = 4e6;

struct Choice {
    const char* name;
    const eyas::Target* target;
};

// The targets that this processor can run, the best one last.
std::vector<Choice> choices() {
    std::vector<Choice> found{{"baseline", &baseline::target}};
#if defined(EYAS_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found.push_back({"avx2", &avx2::target});
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl")) {
            found.push_back({"avx512", &avx512::target});
        }
    }
#endif
    return found;
}

// A state that decays becomes too small for full precision before it is zero, and such numbers are
// slow on many x86 processors: here they count as zero, in this thread, until the end of the scope.
class TinyIsZero {
   public:
#if defined(EYAS_X86)
    TinyIsZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~TinyIsZero() { _mm_setcsr(before_); }

   private:
    unsigned before_;
#endif
};

template <class T>
void run(const eyas::Kernels<T>& kernels, int64_t version, bool backward, const eyas::Call<T>& call,
         int64_t threads) {
    const auto six = backward ? kernels.backward6 : kernels.forward6;
    const auto seven = backward ? kernels.backward7 : kernels.forward7;
    const auto kernel = version == 7 ? seven : six;
    const int64_t heads = call.batch * call.heads;
    const double work = 10.0 * heads * call.length * call.size * call.size;
    threads = std::min({threads, heads, 1 + static_cast<int64_t>(work / kWorthAThread)});
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    const auto serve = [&] {
        [[maybe_unused]] const TinyIsZero scope;
        size_t space = (kernels.scratch(call.size, backward) * sizeof(T)) + 64;
        const std::unique_ptr<char[]> memory(new (std::nothrow) char[space]);
        void* scratch = memory.get();
        if (!scratch) {
            failed = true;
            return;
        }
        std::align(64, space - 64, scratch, space);
        for (int64_t number; (number = next++) < heads;) {
            kernel(call, number, static_cast<T*>(scratch));
        }
    };
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < threads; ++i) others.emplace_back(serve);
    } catch (const std::system_error&) {
        // No more threads to be had: those there are do all the work.
    }
    serve();
    for (std::thread& other : others) other.join();
    if (failed) throw std::bad_alloc();
}

}  // namespace

// The name of target number `target`, and null past the best one.
EYAS_API const char* eyas_wkv_target(int64_t target) {
    const std::vector<Choice> all = choices();
    return target < static_cast<int64_t>(all.size()) ? all[target].name : nullptr;
}

EYAS_API int64_t eyas_wkv_chunk() { return eyas::kChunk; }

// `call` is an eyas::Call<float>, or <double> where `wide`. version: 6 or 7. False where memory
// does not suffice.
EYAS_API bool eyas_wkv(const void* call, int64_t version, bool wide, bool backward, int64_t target,
                       int64_t threads) {
    try {
        const eyas::Target& chosen = *choices()[target].target;
        if (wide) {
            run(chosen.f64, version, backward, *static_cast<const eyas::Call<double>*>(call), threads);
        } else {
            run(chosen.f32, version, backward, *static_cast<const eyas::Call<float>*>(call), threads);
        }
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
