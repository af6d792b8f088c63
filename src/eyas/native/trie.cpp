// A vocabulary as a double-array trie, and greedy longest match over bytes.
//
// The children of node n are found at base[n] + byte, and are n's where check says so (Aoe 1989,
// "An Efficient Digital Search Algorithm by Using a Double-Array Structure"): one load and one
// comparison a byte, and 12 bytes a node.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <vector>

#include "export.h"

namespace {

constexpr int32_t kNone = -1;  // a free node's check; the token of a node that ends none
constexpr int32_t kBytes = 256;
// Where fewer than one in so many nodes from here to the first free one is free, search further on.
constexpr int32_t kDense = 16;

struct Node {
    int32_t base = 0;
    int32_t check = kNone;
    int32_t token = kNone;
};

struct Piece {
    const uint8_t* bytes;
    int64_t size;
    int32_t token;
};

// The pieces [begin, end) agree in their first `depth` bytes, and `node` stands for those.
struct Range {
    int64_t begin, end, depth;
    int32_t node;
};

class Trie {
   public:
    explicit Trie(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
        std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) {
            const int order = std::memcmp(a.bytes, b.bytes, std::min(a.size, b.size));
            return order != 0 ? order < 0 : a.size < b.size;
        });
        nodes_.resize(1 + 2 * kBytes);
        nodes_[0].check = 0;
        std::vector<Range> todo{{0, static_cast<int64_t>(pieces_.size()), 0, 0}};
        while (!todo.empty()) {
            const Range range = todo.back();
            todo.pop_back();
            add(range, todo);
        }
        nodes_.resize(last_ + 1 + kBytes);  // base + byte of any node stays inside
        nodes_.shrink_to_fit();
        pieces_ = {};
    }

    // Writes the tokens and returns how many; `read` is how many bytes they cover.
    int64_t encode(const uint8_t* data, int64_t size, int32_t* out, int64_t* read) const {
        const Node* const nodes = nodes_.data();
        int64_t count = 0, position = 0;
        while (position < size) {
            int32_t node = 0, token = kNone;
            int64_t end = position;
            for (int64_t i = position; i < size; ++i) {
                const int32_t child = nodes[node].base + data[i];
                if (nodes[child].check != node) break;
                node = child;
                if (nodes[node].token != kNone) {
                    token = nodes[node].token;
                    end = i + 1;
                }
            }
            if (token == kNone) break;
            out[count++] = token;
            position = end;
        }
        *read = position;
        return count;
    }

   private:
    void add(Range range, std::vector<Range>& todo) {
        if (pieces_[range.begin].size == range.depth) {
            nodes_[range.node].token = pieces_[range.begin++].token;
        }
        std::vector<Range> children;
        std::vector<uint8_t> bytes;
        for (int64_t i = range.begin; i < range.end; ++i) {
            const uint8_t byte = pieces_[i].bytes[range.depth];
            if (bytes.empty() || bytes.back() != byte) {
                bytes.push_back(byte);
                children.push_back({i, i, range.depth + 1, kNone});
            }
            children.back().end = i + 1;
        }
        if (bytes.empty()) {
            nodes_[range.node].base = 0;  // any: no node's check is this one
            return;
        }
        const int32_t base = room_for(bytes);
        nodes_[range.node].base = base;
        for (size_t i = 0; i < bytes.size(); ++i) {
            children[i].node = base + bytes[i];
            nodes_[children[i].node].check = range.node;
            last_ = std::max(last_, children[i].node);
            todo.push_back(children[i]);
        }
    }

    // The first base at which all these children find a free node.
    int32_t room_for(const std::vector<uint8_t>& bytes) {
        int32_t taken = 0;
        for (int32_t first = std::max(first_free_, 1 + bytes[0]);; ++first) {
            const int32_t base = first - bytes[0];
            if (nodes_.size() < static_cast<size_t>(base) + 2 * kBytes) {
                nodes_.resize(nodes_.size() * 2);
            }
            const auto is_free = [&](uint8_t b) { return nodes_[base + b].check == kNone; };
            if (!is_free(bytes[0])) {
                ++taken;
                continue;
            }
            if (!std::all_of(bytes.begin(), bytes.end(), is_free)) continue;
            if ((first - first_free_ - taken) * kDense < first - first_free_) first_free_ = first;
            return base;
        }
    }

    std::vector<Piece> pieces_;
    std::vector<Node> nodes_;
    int32_t first_free_ = 1;
    int32_t last_ = 0;
};

}  // namespace

// Pieces lie back to back in `bytes`; piece i ends at ends[i]. None is empty, no two are equal.
// Null where memory does not suffice.
EYAS_API void* eyas_trie_new(
    const uint8_t* bytes, const int64_t* ends, const int32_t* tokens, int64_t count
) {
    try {
        std::vector<Piece> pieces(count);
        int64_t begin = 0;
        for (int64_t i = 0; i < count; ++i) {
            pieces[i] = {bytes + begin, ends[i] - begin, tokens[i]};
            begin = ends[i];
        }
        return new Trie(std::move(pieces));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

EYAS_API void eyas_trie_free(void* trie) { delete static_cast<Trie*>(trie); }

// `out` has room for `size` tokens. See Trie::encode.
EYAS_API int64_t eyas_trie_encode(
    const void* trie, const uint8_t* data, int64_t size, int32_t* out, int64_t* read
) {
    return static_cast<const Trie*>(trie)->encode(data, size, out, read);
}
