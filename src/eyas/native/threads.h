// Running one piece of work on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#include "x86.h"

#if defined(EYAS_X86)
#include <immintrin.h>
#endif

namespace eyas {

// Numbers that decay become too small for full precision before they are zero, and such are slow on
// many x86 processors: here they count as zero, in this thread, until the end of the scope.
class TinyIsZero {
   public:
#if defined(EYAS_X86)
    TinyIsZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~TinyIsZero() { _mm_setcsr(before_); }

   private:
    unsigned before_;
#endif
};

// Calls `serve` at once on so many threads, this one among them, and waits for all.
template <class Serve>
void on_threads(int64_t threads, const Serve& serve) {
    const auto guarded = [&] {
        [[maybe_unused]] const TinyIsZero scope;
        serve();
    };
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < threads; ++i) others.emplace_back(guarded);
    } catch (const std::system_error&) {
        // No more threads to be had: those there are do all the work.
    }
    guarded();
    for (std::thread& other : others) other.join();
}

// Calls work(i) for every i in [0, count), shared out over threads.
template <class Work>
void share_out(int64_t count, int64_t threads, const Work& work) {
    std::atomic<int64_t> next{0};
    on_threads(std::min(threads, count), [&] {
        for (int64_t i; (i = next++) < count;) work(i);
    });
}

}  // namespace eyas
