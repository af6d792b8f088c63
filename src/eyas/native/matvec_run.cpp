#include "matvec_run.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "matvec_pool.h"

namespace eyas {

namespace {

// A thread more is worth waking for so many multiplications.
constexpr int64_t kWorthAThread = 1 << 17;
// In how many pieces each thread's share comes, as some threads are slower than others.
constexpr int64_t kPieces = 16;

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
    if (storage < kFourBits || product.in % kBlock != 0) return;
    Task& task = tasks_.back();
    task.x.reset(new float[product.rows * product.in]);
    target_.part(product.x, product.rows * product.in, task.x.get());
    task.product.x = task.x.get();
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
