// order_book: the orders of an exchange, which come, wait, and are filled or cancelled.
//
//   order_book [--malloc] [days]
//
// Each waiting order is a block of a slab cache, in the list of its price. A day begins and ends
// with no orders and has half a million at noon; slabs that become empty go back, so the evening's
// memory is not the noon's. With --malloc orders are made by new. Both print the same checksum.
//
// SPDX-License-Identifier: MIT

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include <mete/slab_cache.hpp>

namespace {

constexpr std::uint32_t prices = 2048;

// A step of SplitMix64: S. Vigna's public-domain constants.
std::uint64_t mix(std::uint64_t state) {
  state += 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}

struct order {
  order* before;
  order* after;
  std::uint64_t id;
  std::uint32_t price;
  std::uint32_t quantity;
  bool buys;
};

struct slab_orders {
  template <class... Arguments>
  order* make(Arguments... arguments) {
    return mete::create<order>(cache, arguments...);
  }
  void end(order* which) { mete::destroy(cache, which); }

  mete::slab_cache cache{
      {.name = "orders", .block_bytes = sizeof(order), .max_empty_bytes = 256 << 10}};
};

struct heap_orders {
  template <class... Arguments>
  static order* make(Arguments... arguments) {
    return new order{arguments...};
  }
  static void end(order* which) { delete which; }
};

// The orders of one side at one price, the oldest first.
struct level {
  void append(order* added) {
    added->before = last;
    (last != nullptr ? last->after : first) = added;
    last = added;
  }
  void remove(order* gone) {
    (gone->before != nullptr ? gone->before->after : first) = gone->after;
    (gone->after != nullptr ? gone->after->before : last) = gone->before;
  }

  order* first = nullptr;
  order* last = nullptr;
};

template <class Orders>
class book {
public:
  explicit book(std::size_t ids) : by_id_(ids), bids_(prices), asks_(prices) {}

  // Trades with what waits on the other side, the best price first; the rest waits. An ask is never
  // below the bids that wait.
  void add(std::uint64_t id, bool buys, std::uint32_t price, std::uint32_t quantity) {
    if (buys)
      for (; quantity != 0 && best_ask_ <= price; ++best_ask_)
        if (!fill(asks_[best_ask_], quantity))
          break;
    if (!buys)
      for (; quantity != 0 && best_bid_ >= price && best_bid_ != 0; --best_bid_)
        if (!fill(bids_[best_bid_], quantity))
          break;
    if (quantity == 0)
      return;
    order* const waiting = orders_.make(nullptr, nullptr, id, price, quantity, buys);
    level_of(*waiting).append(waiting);
    by_id_[id] = waiting;
    (buys ? best_bid_ : best_ask_) = buys ? std::max(best_bid_, price) : std::min(best_ask_, price);
  }

  // Nothing, if it has been filled.
  void cancel(std::uint64_t id) {
    if (by_id_[id] != nullptr)
      end(by_id_[id]);
  }

  Orders& orders() { return orders_; }
  std::uint64_t checksum() const { return checksum_; }

private:
  level& level_of(const order& of) { return (of.buys ? bids_ : asks_)[of.price]; }

  // Trades with the orders of one price, the oldest first. True if none is left.
  bool fill(level& at, std::uint32_t& quantity) {
    while (at.first != nullptr && quantity != 0) {
      order& oldest = *at.first;
      const std::uint32_t traded = std::min(quantity, oldest.quantity);
      checksum_ += mix(oldest.id) ^ (std::uint64_t{traded} * oldest.price);
      quantity -= traded;
      oldest.quantity -= traded;
      if (oldest.quantity == 0)
        end(&oldest);
    }
    return at.first == nullptr;
  }

  void end(order* gone) {
    level_of(*gone).remove(gone);
    by_id_[gone->id] = nullptr;
    orders_.end(gone);
  }

  Orders orders_;
  std::vector<order*> by_id_;
  std::vector<level> bids_, asks_;      // by price
  std::uint32_t best_bid_ = 0;          // no bid waits above
  std::uint32_t best_ask_ = prices - 1; // no ask waits below
  std::uint64_t checksum_ = 0;
};

// Orders come around a middle price that walks; most are cancelled later, in no order.
template <class Orders>
void trade(book<Orders>& with, std::uint64_t day, std::uint64_t orders) {
  std::uint32_t middle = prices / 2;
  for (std::uint64_t i = 0; i < orders; ++i) {
    const std::uint64_t r = mix(day * orders + i);
    middle = std::clamp(middle + static_cast<std::uint32_t>(r % 3) - 1, 300u, prices - 300u);
    const bool buys = (r >> 8) % 2 == 0;
    const auto away = static_cast<std::uint32_t>((r >> 16) % 256);
    with.add(i, buys, buys ? middle + 8 - away : middle - 8 + away,
             static_cast<std::uint32_t>((r >> 32) % 100 + 1));
    if (i % 2 != 0)
      with.cancel(mix(r) % (i + 1));
  }
}

template <class Orders>
void open(std::uint64_t days) {
  constexpr std::uint64_t orders = 2'000'000;
  book<Orders> running(orders);
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t day = 0; day < days; ++day) {
    trade(running, day, orders);
    if constexpr (requires { running.orders().cache; })
      std::printf("noon: %zu KiB of orders\n", running.orders().cache.usage().reserved_bytes >> 10);
    for (std::uint64_t i = 0; i < orders; ++i)
      running.cancel(mix(i) % orders);
    for (std::uint64_t i = 0; i < orders; ++i)
      running.cancel(i);
    if constexpr (requires { running.orders().cache; })
      std::printf("night: %zu KiB of orders, %zu orders\n",
                  running.orders().cache.usage().reserved_bytes >> 10,
                  running.orders().cache.live_blocks());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("checksum %llu\nmetric seconds %.3f\n",
              static_cast<unsigned long long>(running.checksum()), took.count());
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  const bool on_malloc = count > 1 && std::string_view(arguments[1]) == "--malloc";
  const int first = on_malloc ? 2 : 1;
  const int days = count > first ? std::atoi(arguments[first]) : 4;
  if (days < 1 || count > first + 1) {
    std::fprintf(stderr, "usage: order_book [--malloc] [days]\n");
    return 2;
  }
  on_malloc ? open<heap_orders>(static_cast<std::uint64_t>(days))
            : open<slab_orders>(static_cast<std::uint64_t>(days));
}
