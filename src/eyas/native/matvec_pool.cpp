#include "matvec_pool.h"

#include <memory>
#include <system_error>
#include <thread>

#include "x86.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace eyas {

namespace {

constexpr uint64_t kPlace = uint64_t(1) << 32;
constexpr uint64_t kInside = kPlace - 1;

// Between two products of a token lie some tens of microseconds: to sleep and wake takes longer.
constexpr int kSpins = 4000;

void pause() {
#if defined(EYAS_X86)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

std::atomic<Pool*> current{nullptr};

#if !defined(_WIN32)
void forget() { current = nullptr; }
#endif

}  // namespace

void Pool::run(int64_t others, const std::function<void()>& work) {
    std::unique_lock<std::mutex> call(calls_, std::try_to_lock);
    if (others <= 0 || !call.owns_lock()) return work();
    start(others);
    work_ = &work;
    gate_.store(uint64_t(others) * kPlace);
    ++number_;
    if (sleeping_ > 0) {
        const std::lock_guard<std::mutex> lock(sleep_);
        wake_.notify_all();
    }
    work();
    gate_ &= kInside;
    for (int spins = 0; gate_ != 0; ++spins) {
        if (spins < kSpins) pause();
        else std::this_thread::yield();
    }
}

void Pool::start(int64_t count) {
    try {
        for (; started_ < count; ++started_) std::thread(&Pool::serve, this).detach();
    } catch (const std::system_error&) {
        // No more threads to be had: those there are do all the work.
    }
}

void Pool::serve() {
    for (uint64_t seen = 0;;) {
        seen = wait_for_call_after(seen);
        if (!enter()) continue;
        (*work_)();
        --gate_;
    }
}

uint64_t Pool::wait_for_call_after(uint64_t seen) {
    for (int spins = 0; spins < kSpins; ++spins) {
        if (number_ != seen) return number_;
        pause();
    }
    std::unique_lock<std::mutex> lock(sleep_);
    ++sleeping_;
    wake_.wait(lock, [&] { return number_ != seen; });
    --sleeping_;
    return number_;
}

bool Pool::enter() {
    uint64_t gate = gate_;
    do {
        if (gate < kPlace) return false;
    } while (!gate_.compare_exchange_weak(gate, gate - kPlace + 1));
    return true;
}

Pool& pool() {
#if !defined(_WIN32)
    [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, forget);
#endif
    Pool* found = current;
    if (found) return *found;
    auto made = std::make_unique<Pool>();
    if (current.compare_exchange_strong(found, made.get())) return *made.release();
    return *found;
}

}  // namespace eyas
