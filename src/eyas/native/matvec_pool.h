// Threads that stay for the next product: starting one takes as long as a small product.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace eyas {

// Nobody waits for a thread that has not begun when the work is done: where others keep the
// processors busy the caller does the work itself.
class Pool {
   public:
    // Runs `work` here and in up to `others` threads at once; returns when all have left it. Where
    // another call is under way it runs here alone.
    void run(int64_t others, const std::function<void()>& work);

   private:
    void start(int64_t count);
    void serve();
    uint64_t wait_for_call_after(uint64_t seen);
    bool enter();

    std::mutex calls_;  // held by the caller whose work is done
    int64_t started_ = 0;
    const std::function<void()>* work_ = nullptr;
    std::atomic<uint64_t> number_{0};  // of calls so far
    std::atomic<uint64_t> gate_{0};    // how many may still enter * 2^32 + how many are inside
    std::mutex sleep_;
    std::condition_variable wake_;
    std::atomic<int64_t> sleeping_{0};
};

// That of this process: a forked one has none of its parent's threads and gets its own.
Pool& pool();

}  // namespace eyas
