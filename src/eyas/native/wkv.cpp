// The WKV operators' interface: shares out the heads.
#include "wkv.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>

#include "export.h"
#include "target.h"
#include "threads.h"

namespace {

// A thread more is worth starting for so many multiplications.
constexpr double kWorthAThread = 4e6;

template <class T>
void run(const eyas::Wkv<T>& kernels, int64_t version, bool backward, const eyas::Call<T>& call,
         int64_t threads) {
    const auto six = backward ? kernels.backward6 : kernels.forward6;
    const auto seven = backward ? kernels.backward7 : kernels.forward7;
    const auto kernel = version == 7 ? seven : six;
    const int64_t heads = call.batch * call.heads;
    const double work = 10.0 * heads * call.length * call.size * call.size;
    threads = std::min({threads, heads, 1 + static_cast<int64_t>(work / kWorthAThread)});
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    eyas::on_threads(threads, [&] {
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
    });
    if (failed) throw std::bad_alloc();
}

}  // namespace

EYAS_API int64_t eyas_wkv_chunk() { return eyas::kChunk; }

// `call` is an eyas::Call<float>, or <double> where `wide`. version: 6 or 7. False where memory
// does not suffice.
EYAS_API bool eyas_wkv(const void* call, int64_t version, bool wide, bool backward, int64_t target,
                       int64_t threads) {
    try {
        const eyas::Target& chosen = eyas::target(target);
        if (wide) {
            run(chosen.f64.wkv, version, backward, *static_cast<const eyas::Call<double>*>(call), threads);
        } else {
            run(chosen.f32.wkv, version, backward, *static_cast<const eyas::Call<float>*>(call), threads);
        }
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
