#include "matvec_run.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "matvec_pool.h"

namespace eyas {

namespace {

// A thread more is worth waking for so many multiplications.
constexpr int64_t kWorthAThread = 1 << 17;
// In how many pieces each thread's share comes, as some threads are slower than others.
constexpr int64_t kPieces = 16;
// Numbers in a line of the cache.
constexpr int64_t kLine = 16;

int64_t work_of(const Product& product) { return product.rows * product.in * product.out; }

}  // namespace

void share(int64_t threads, int64_t count, const std::function<void(int64_t)>& serve) {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
        for (int64_t piece; (piece = next++) < count;) serve(piece);
    };
    threads = std::min(threads, count);
    if (threads <= 1) work();
    else pool().run(threads - 1, work);
}

void Products::add(int64_t storage, const Product& product) {
    tasks_.push_back({storage, product, nullptr});
    const bool parted = storage >= kFourBits && product.in % kBlock == 0;
    // Each row begins with a line of the cache; rows that are a multiple of 4096 bytes apart would
    // take each other's place there.
    const int64_t stride = (product.in / kLine + 2) * kLine;
    Task& task = tasks_.back();
    task.x.reset(new float[product.rows * stride + kLine]);
    float* const first = task.x.get() + kLine - uintptr_t(task.x.get()) / sizeof(float) % kLine;
    for (int64_t row = 0; row < product.rows; ++row) {
        const float* const from = product.x + row * product.in;
        if (parted) target_.part(from, product.in, first + row * stride);
        else std::memcpy(first + row * stride, from, product.in * sizeof(float));
    }
    task.product.x = first;
    task.product.x_stride = stride;
}

void Products::run() {
    int64_t work = 0;
    for (const Task& task : tasks_) work += work_of(task.product);
    const int64_t threads = std::min(threads_, 1 + work / kWorthAThread);
    std::vector<Piece> pieces;
    for (const Task& task : tasks_) {
        const Product& product = task.product;
        const int64_t row = std::max<int64_t>(1, product.rows * product.in);
        const int64_t groups = work / (threads * kPieces) / row / kGroupRows;
        const int64_t step = std::max<int64_t>(1, groups) * kGroupRows;
        for (int64_t begin = 0; begin < product.out; begin += step) {
            pieces.push_back({&task, begin, std::min(begin + step, product.out)});
        }
    }
    std::atomic<bool> failed{false};
    share(threads, pieces.size(), [&](int64_t number) {
        const auto& [task, begin, end] = pieces[number];
        std::unique_ptr<float[]> scratch;
        if (task->storage >= kInt8Half) {
            scratch.reset(new (std::nothrow) float[kGroupRows * task->product.in]);
            if (!scratch) {
                failed = true;
                return;
            }
        }
        target_.kernels[task->storage](task->product, begin, end, scratch.get());
    });
    tasks_.clear();
    if (failed) throw std::bad_alloc();
}

}  // namespace eyas
