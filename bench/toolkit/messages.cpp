// SPDX-License-Identifier: MIT
// Messages of 16 to 255 bytes, first in, first out, from `--threads` producers to one consumer,
// which verifies that each producer's come in order and whole. message: the time for one. Whoever
// finds the queue full, or empty, yields. All queues hold 64 KiB of messages or about as many.

#include "candidates.hpp"

#include <mete/ring.hpp>
#ifdef METE_BENCH_BOOST
#  include <boost/lockfree/queue.hpp>
#  include <boost/lockfree/spsc_queue.hpp>
#endif
#ifdef METE_BENCH_TBB
#  include <oneapi/tbb/concurrent_queue.h>
#endif

#include <atomic>
#include <deque>
#include <sched.h>

namespace {

constexpr std::size_t queue_bytes = 64 * 1024;
constexpr std::size_t queue_messages = 512;
constexpr std::size_t largest_message = 256;

struct message_head {
  std::uint32_t producer;
  std::uint32_t number;
};

// One buffer for all messages, under one lock: what most programs begin with.
struct locked_ring {
  static constexpr const char* name = "mutex";
  explicit locked_ring(unsigned) : buffer(queue_bytes + largest_message) {}

  bool send(const char* message, std::uint32_t size) {
    const std::lock_guard locked(mutex);
    if (used + sizeof size + size > queue_bytes) {
      return false;
    }
    put(&size, sizeof size);
    put(message, size);
    return true;
  }
  template <class body>
  bool receive(body&& use) {
    char message[largest_message];
    std::uint32_t size = 0;
    {
      const std::lock_guard locked(mutex);
      if (used == 0) {
        return false;
      }
      take(&size, sizeof size);
      take(message, size);
    }
    use(message, size);
    return true;
  }

private:
  void put(const void* from, std::size_t size) {
    const std::size_t at = (begin + used) % queue_bytes;
    const std::size_t first = size < queue_bytes - at ? size : queue_bytes - at;
    std::memcpy(buffer.begin() + at, from, first);
    std::memcpy(buffer.begin(), static_cast<const char*>(from) + first, size - first);
    used += size;
  }
  void take(void* to, std::size_t size) {
    const std::size_t first = size < queue_bytes - begin ? size : queue_bytes - begin;
    std::memcpy(to, buffer.begin() + begin, first);
    std::memcpy(static_cast<char*>(to) + first, buffer.begin(), size - first);
    begin = (begin + size) % queue_bytes;
    used -= size;
  }

  std::mutex mutex;
  bench::table<char> buffer;
  std::size_t begin = 0;
  std::size_t used = 0;
};

// The plainest ring of one producer that is fast (L. Lamport, 1983): two positions, of which each
// side keeps a copy of the other's; lengths in front of the bytes. It checks nothing.
struct lamport_ring {
  static constexpr const char* name = "lamport";
  explicit lamport_ring(unsigned producers) : buffer(queue_bytes) {
    bench::check(producers == 1, "lamport is of one producer");
  }

  bool send(const char* message, std::uint32_t size) {
    const std::size_t bytes = bytes_for(size);
    const std::size_t left = queue_bytes - written % queue_bytes;
    const std::size_t skipped = bytes > left ? left : 0;
    if (written + skipped + bytes - head_seen > queue_bytes) {
      head_seen = head.load(std::memory_order_acquire);
      if (written + skipped + bytes - head_seen > queue_bytes) {
        return false;
      }
    }
    if (skipped != 0) {
      std::memcpy(buffer.begin() + written % queue_bytes, &end_mark, sizeof end_mark);
      written += skipped;
    }
    char* const at = buffer.begin() + written % queue_bytes;
    std::memcpy(at, &size, sizeof size);
    std::memcpy(at + header_bytes, message, size);
    written += bytes;
    tail.store(written, std::memory_order_release);
    return true;
  }
  template <class body>
  bool receive(body&& use) {
    if (read == tail_seen) {
      tail_seen = tail.load(std::memory_order_acquire);
      if (read == tail_seen) {
        return false;
      }
    }
    std::uint32_t size = 0;
    std::memcpy(&size, buffer.begin() + read % queue_bytes, sizeof size);
    if (size == end_mark) {
      read += queue_bytes - read % queue_bytes;
      std::memcpy(&size, buffer.begin(), sizeof size);
    }
    use(buffer.begin() + read % queue_bytes + header_bytes, size);
    read += bytes_for(size);
    head.store(read, std::memory_order_release);
    return true;
  }

private:
  static constexpr std::uint32_t end_mark = ~std::uint32_t{0};
  static constexpr std::size_t header_bytes = 8;
  static std::size_t bytes_for(std::uint32_t size) { return (header_bytes + size + 15) / 16 * 16; }

  bench::table<char> buffer;
  alignas(64) std::atomic<std::size_t> tail{0};
  alignas(64) std::size_t written = 0;
  std::size_t head_seen = 0;
  alignas(64) std::atomic<std::size_t> head{0};
  alignas(64) std::size_t read = 0;
  std::size_t tail_seen = 0;
};

// Pointers to blocks that malloc gave and the consumer frees.
struct sized_message {
  std::uint32_t size;
  char bytes[largest_message];

  static sized_message* make(const char* message, std::uint32_t size) {
    auto* made = static_cast<sized_message*>(std::malloc(sizeof(std::uint32_t) + size));
    bench::check(made != nullptr, "malloc gave no memory");
    made->size = size;
    std::memcpy(made->bytes, message, size);
    return made;
  }
};

template <class queue>
struct pointer_queue : queue {
  using queue::queue;
  bool send(const char* message, std::uint32_t size) {
    sized_message* made = sized_message::make(message, size);
    while (!queue::try_put(made)) {
      sched_yield();
    }
    return true;
  }
  template <class body>
  bool receive(body&& use) {
    sized_message* message = nullptr;
    if (!queue::try_take(message)) {
      return false;
    }
    use(message->bytes, message->size);
    std::free(message);
    return true;
  }
};

struct locked_deque {
  explicit locked_deque(unsigned) {}
  bool try_put(sized_message* message) {
    const std::lock_guard locked(mutex);
    if (messages.size() == queue_messages) {
      return false;
    }
    messages.push_back(message);
    return true;
  }
  bool try_take(sized_message*& message) {
    const std::lock_guard locked(mutex);
    if (messages.empty()) {
      return false;
    }
    message = messages.front();
    messages.pop_front();
    return true;
  }
  std::mutex mutex;
  std::deque<sized_message*> messages;
};
struct malloc_queue : pointer_queue<locked_deque> {
  static constexpr const char* name = "malloc";
  using pointer_queue::pointer_queue;
};

#ifdef METE_BENCH_TBB
struct bounded_queue {
  explicit bounded_queue(unsigned) { messages.set_capacity(queue_messages); }
  bool try_put(sized_message* message) { return messages.try_push(message); }
  bool try_take(sized_message*& message) { return messages.try_pop(message); }
  tbb::concurrent_bounded_queue<sized_message*> messages;
};
struct tbb_queue : pointer_queue<bounded_queue> {
  static constexpr const char* name = "tbb";
  using pointer_queue::pointer_queue;
};
#endif

#ifdef METE_BENCH_BOOST
// Boost.Lockfree's queue of one producer carries the bytes themselves, size first; its queue of
// many carries pointers.
struct boost_queue {
  static constexpr const char* name = "boost";
  explicit boost_queue(unsigned producers) : one(producers == 1), bytes(queue_bytes) {}

  bool send(const char* message, std::uint32_t size) {
    if (!one) {
      sized_message* made = sized_message::make(message, size);
      while (!pointers.push(made)) {
        sched_yield();
      }
      return true;
    }
    if (bytes.write_available() < sizeof size + size) {
      return false;
    }
    char text[sizeof size + largest_message];
    std::memcpy(text, &size, sizeof size);
    std::memcpy(text + sizeof size, message, size);
    bytes.push(text, sizeof size + size);
    return true;
  }
  template <class body>
  bool receive(body&& use) {
    return one ? receive_bytes(use) : receive_pointer(use);
  }

private:
  template <class body>
  bool receive_bytes(body& use) {
    std::uint32_t size = 0;
    char message[largest_message];
    if (bytes.pop(reinterpret_cast<char*>(&size), sizeof size) == 0) {
      return false;
    }
    bytes.pop(message, size); // both were pushed at once
    use(message, size);
    return true;
  }
  template <class body>
  bool receive_pointer(body& use) {
    sized_message* message = nullptr;
    if (!pointers.pop(message)) {
      return false;
    }
    use(message->bytes, message->size);
    std::free(message);
    return true;
  }

  bool one;
  boost::lockfree::spsc_queue<char> bytes;
  boost::lockfree::queue<sized_message*, boost::lockfree::capacity<queue_messages>> pointers;
};
#endif

template <mete::producers kind>
struct ring_queue {
  bool send(const char* message, std::uint32_t size) {
    auto record = ring.try_reserve(size);
    if (!record) {
      return false;
    }
    std::memcpy(record.bytes().data(), message, size);
    record.commit();
    return true;
  }
  template <class body>
  bool receive(body&& use) {
    auto record = ring.try_read();
    if (!record) {
      return false;
    }
    use(reinterpret_cast<const char*>(record.bytes().data()), record.bytes().size());
    return true;
  }
  mete::ring<kind> ring{{.capacity_bytes = queue_bytes}};
};
struct ring_of_one : ring_queue<mete::producers::one> {
  static constexpr const char* name = "ring";
  explicit ring_of_one(unsigned producers) {
    bench::check(producers == 1, "ring is of one producer; see ring_many");
  }
};
struct ring_of_many : ring_queue<mete::producers::many> {
  static constexpr const char* name = "ring_many";
  explicit ring_of_many(unsigned) {}
};

using all = bench::candidates<locked_ring, lamport_ring, malloc_queue, ring_of_one, ring_of_many
#ifdef METE_BENCH_BOOST
                              ,
                              boost_queue
#endif
#ifdef METE_BENCH_TBB
                              ,
                              tbb_queue
#endif
                              >;

template <class candidate>
void produce(candidate& queue, std::uint32_t producer, std::uint32_t count) {
  bench::random_source random(producer);
  char message[largest_message] = {};
  for (std::uint32_t i = 0; i < count; ++i) {
    const message_head head{producer, i};
    const auto size = static_cast<std::uint32_t>(random.log_uniform(16, largest_message));
    std::memcpy(message, &head, sizeof head);
    message[size - 1] = static_cast<char>(i);
    while (!queue.send(message, size)) {
      sched_yield();
    }
  }
}

template <class candidate>
void consume(candidate& queue, unsigned producers, std::uint64_t count) {
  bench::table<std::uint32_t> next(producers);
  for (std::uint64_t done = 0; done < count;) {
    const bool any = queue.receive([&](const char* message, std::size_t size) {
      message_head head{};
      std::memcpy(&head, message, sizeof head);
      bench::check(head.producer < producers && head.number == next[head.producer]++ &&
                       message[size - 1] == static_cast<char>(head.number),
                   "a message is lost, torn or out of order");
    });
    if (any) {
      ++done;
    } else {
      sched_yield();
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  return bench::run(
      argc, argv, all{}, []<class candidate>(bench::arguments& options, bench::random_source) {
        const unsigned producers = options.threads(1);
        const auto count =
            static_cast<std::uint32_t>(options.number("--count", 10'000'000, 1'000'000)) /
            producers;
        options.finish();
        const std::uint64_t messages = std::uint64_t{count} * producers;
        candidate queue(producers);
        const std::uint64_t start = bench::nanoseconds_now();
        bench::run_threads(producers + 1, [&](unsigned index) {
          if (index == producers) {
            consume(queue, producers, messages);
          } else {
            produce(queue, index, count);
          }
        });
        bench::metric("message", bench::cost_since(start, messages), "ns");
      });
}
