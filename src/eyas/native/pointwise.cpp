// The elementwise kernels' interface: shares out tokens, rows or numbers.
#include "export.h"
#include "target.h"
#include "threads.h"

namespace {

// A thread more is worth starting for so many numbers, and so many are one piece of a flat call.
constexpr int64_t kWorthAThread = 1 << 16, kFlat = 1 << 14;

int64_t pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }

int64_t useful(int64_t threads, int64_t numbers) {
    return std::min(threads, 1 + numbers / kWorthAThread);
}

template <class T, template <class> class Call, class Kernel>
void over_tokens(const void* call, int64_t tokens, int64_t width, int64_t threads, Kernel kernel) {
    eyas::share_out(pieces(tokens, eyas::kPiece), useful(threads, tokens * width), [&](int64_t piece) {
        kernel(*static_cast<const Call<T>*>(call), piece);
    });
}

template <class T>
void mix(const void* pointer, bool backward, const eyas::Pointwise<T>& kernels, int64_t threads) {
    const auto& call = *static_cast<const eyas::Mix<T>*>(pointer);
    const auto kernel = backward ? kernels.mix_backward : kernels.mix;
    over_tokens<T, eyas::Mix>(pointer, call.batch * call.length, call.width * call.count, threads, kernel);
}

template <class T>
void goose(const void* pointer, bool backward, const eyas::Pointwise<T>& kernels, int64_t threads) {
    const auto& call = *static_cast<const eyas::Goose<T>*>(pointer);
    const auto kernel = backward ? kernels.goose_backward : kernels.goose;
    over_tokens<T, eyas::Goose>(pointer, call.tokens, 5 * call.heads * call.size, threads, kernel);
}

template <class T>
void gated(const void* pointer, bool backward, const eyas::Pointwise<T>& kernels, int64_t threads) {
    const auto& call = *static_cast<const eyas::Gated<T>*>(pointer);
    const auto kernel = backward ? kernels.gated_backward : kernels.gated;
    over_tokens<T, eyas::Gated>(pointer, call.tokens, 3 * call.heads * call.size, threads, kernel);
}

template <class T>
void softmax(const void* pointer, bool, const eyas::Pointwise<T>& kernels, int64_t threads) {
    const auto& call = *static_cast<const eyas::Softmax<T>*>(pointer);
    eyas::share_out(call.rows, useful(threads, call.rows * call.size), [&](int64_t row) {
        kernels.softmax(call, row);
    });
}

template <class T>
void squared(const void* pointer, bool backward, const eyas::Pointwise<T>& kernels, int64_t threads) {
    const auto& call = *static_cast<const eyas::Squared<T>*>(pointer);
    const auto kernel = backward ? kernels.squared_backward : kernels.squared;
    eyas::share_out(pieces(call.count, kFlat), useful(threads, call.count), [&](int64_t piece) {
        kernel(call, piece * kFlat, std::min(call.count, (piece + 1) * kFlat));
    });
}

}  // namespace

EYAS_API int64_t eyas_pointwise_piece() { return eyas::kPiece; }

#define EYAS_POINTWISE(NAME)                                                                       \
    EYAS_API void eyas_##NAME(                                                                     \
        const void* call, bool wide, bool backward, int64_t target, int64_t threads                \
    ) {                                                                                            \
        const eyas::Target& chosen = eyas::target(target);                                         \
        if (wide) NAME<double>(call, backward, chosen.f64.pointwise, threads);                     \
        else NAME<float>(call, backward, chosen.f32.pointwise, threads);                           \
    }

// Each computes an eyas::Mix<float> and so on, or <double> where `wide`, or its gradients.
EYAS_POINTWISE(mix)
EYAS_POINTWISE(goose)
EYAS_POINTWISE(gated)
EYAS_POINTWISE(softmax)
EYAS_POINTWISE(squared)
