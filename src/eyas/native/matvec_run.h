// Several products at once, shared out to threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "matvec.h"

namespace eyas {

// Runs serve(piece) for the pieces [0, count) in up to `threads` threads.
void share(int64_t threads, int64_t count, const std::function<void(int64_t)>& serve);

class Products {
   public:
    Products(const ProductTarget& target, int64_t threads) : target_(target), threads_(threads) {}
    void add(int64_t storage, const Product& product);
    // All that were added: each row of a weight is read by one thread.
    void run();

   private:
    struct Task {
        int64_t storage;
        Product product;
        std::unique_ptr<float[]> x;  // a copy of the vectors
    };
    struct Piece {
        const Task* task;
        int64_t begin, end;
    };

    const ProductTarget& target_;
    const int64_t threads_;
    std::vector<Task> tasks_;
};

}  // namespace eyas
