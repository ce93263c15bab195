// SPDX-License-Identifier: MIT
// What every workload needs and nothing more: arguments, a seeded random source, checks, metrics,
// threads and tables. Only libc is needed: a workload that merely calls malloc does not link
// libstdc++, whose start-up allocation would blur its figures. The workloads' own tables come from
// mmap, so that the allocator under test sees exactly the calls that its workload describes.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

inline constexpr unsigned maximum_threads = 2048;
inline constexpr std::size_t page_bytes = 4096;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "workload failed: %s\n", what);
  std::exit(1);
}

inline void check(bool condition, const char* what) {
  if (!condition) [[unlikely]] {
    fail(what);
  }
}

// One figure of the workload's own; bench/suite.toml says how these lines are read.
inline void metric(const char* name, double value, const char* unit) {
  std::printf("metric %s %.6g %s\n", name, value, unit);
}

// `--name value` pairs and the switch `--quick`, which selects each option's second default, as
// does METE_BENCH_QUICK=1 in the environment.
class arguments {
public:
  arguments(int count, char** values) : count_(count), values_(values) {
    const char* environment = std::getenv("METE_BENCH_QUICK");
    quick_ = environment != nullptr && std::strcmp(environment, "1") == 0;
    for (int i = 1; i < count; ++i) {
      if (std::strcmp(values[i], "--quick") == 0) {
        quick_ = true;
        ++taken_;
      }
    }
  }

  bool quick() const { return quick_; }

  const char* text(const char* name, const char* otherwise) {
    for (int i = 1; i + 1 < count_; ++i) {
      if (std::strcmp(values_[i], name) == 0) {
        taken_ += 2;
        return values_[i + 1];
      }
    }
    return otherwise;
  }

  std::uint64_t number(const char* name, std::uint64_t otherwise, std::uint64_t when_quick) {
    const char* given = text(name, nullptr);
    if (given == nullptr) {
      return quick_ ? when_quick : otherwise;
    }
    char* end = nullptr;
    const std::uint64_t value = std::strtoull(given, &end, 10);
    check(*given != '\0' && *end == '\0', "an option needs a number");
    return value;
  }

  unsigned threads(unsigned otherwise) {
    const std::uint64_t value = number("--threads", otherwise, otherwise);
    check(value >= 1 && value <= maximum_threads, "--threads takes 1 to 2048");
    return static_cast<unsigned>(value);
  }

  // Call after the last option: whatever nobody asked for is a mistake of the caller.
  void finish() const { check(count_ - 1 == taken_, "unknown or incomplete argument"); }

private:
  int count_;
  char** values_;
  int taken_ = 0;
  bool quick_ = false;
};

// splitmix64 (Steele, Lea, Flood 2014): one word of state, passes the usual tests.
class random_source {
public:
  explicit random_source(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t value = (state_ += 0x9e3779b97f4a7c15u);
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
  }

  // Uniform in [0, bound); REQUIRES: bound < 2^32 (a multiplication instead of a division).
  std::uint64_t below(std::uint64_t bound) { return ((next() >> 32) * bound) >> 32; }

  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }

  // Each doubling from `low` up is equally likely; `low` and `high` are powers of two.
  std::uint64_t log_uniform(std::uint64_t low, std::uint64_t high) {
    const auto doublings = static_cast<std::uint64_t>(__builtin_ctzll(high / low));
    const std::uint64_t base = low << below(doublings);
    return base + below(base);
  }

private:
  std::uint64_t state_;
};

// A zeroed array outside the heap.
template <class element>
class table {
public:
  explicit table(std::size_t count) : count_(count) {
    void* memory =
        mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, "no memory for a table");
    elements_ = static_cast<element*>(memory);
  }
  ~table() { munmap(elements_, bytes()); }
  table(const table&) = delete;
  table& operator=(const table&) = delete;

  element& operator[](std::size_t index) { return elements_[index]; }
  std::size_t size() const { return count_; }
  element* begin() { return elements_; }
  element* end() { return elements_ + count_; }

private:
  std::size_t bytes() const { return count_ * sizeof(element) + 1; }

  std::size_t count_;
  element* elements_ = nullptr;
};

// Runs body(index) on `count` threads and waits for all of them.
template <class body_type>
void run_threads(unsigned count, body_type body) {
  struct worker {
    body_type* body;
    unsigned index;
    pthread_t thread;
  };
  check(count <= maximum_threads, "too many threads");
  table<worker> workers(count);
  for (unsigned i = 0; i < count; ++i) {
    workers[i].body = &body;
    workers[i].index = i;
    const auto enter = [](void* self) -> void* {
      auto* me = static_cast<worker*>(self);
      (*me->body)(me->index);
      return nullptr;
    };
    check(pthread_create(&workers[i].thread, nullptr, enter, &workers[i]) == 0, "pthread_create");
  }
  for (worker& each : workers) {
    check(pthread_join(each.thread, nullptr) == 0, "pthread_join");
  }
}

inline std::uint64_t nanoseconds_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

inline void sleep_milliseconds(std::uint64_t milliseconds) {
  timespec left{static_cast<time_t>(milliseconds / 1000),
                static_cast<long>(milliseconds % 1000 * 1'000'000)};
  while (nanosleep(&left, &left) != 0) {
  }
}

// Resident bytes of this process now, read without a call to malloc.
inline double resident_bytes() {
  char text[128] = {};
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  check(file >= 0 && read(file, text, sizeof text - 1) > 0, "/proc/self/statm is not readable");
  close(file);
  const char* second = std::strchr(text, ' ');
  check(second != nullptr, "/proc/self/statm has another form");
  return static_cast<double>(std::strtoull(second, nullptr, 10)) *
         static_cast<double>(sysconf(_SC_PAGESIZE));
}

inline double mebibytes(double bytes) {
  return bytes / 1048576.0;
}

// A block that knows its size and carries a mark at both ends and in every page between, so that a
// block handed out twice, moved wrongly or given back too early is seen when it is verified.
struct marked_block {
  static constexpr std::size_t minimum_bytes = 8;

  static void* allocate(std::size_t size) {
    void* block = std::malloc(size < minimum_bytes ? minimum_bytes : size);
    check(block != nullptr, "malloc gave no memory");
    return block;
  }

  static std::uint32_t mark(const void* block, std::size_t size) {
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    return static_cast<std::uint32_t>((address >> 4) * 2654435761u ^ size);
  }

  static void write(void* block, std::size_t size) {
    auto* bytes = static_cast<unsigned char*>(block);
    const std::uint32_t head[2] = {static_cast<std::uint32_t>(size), mark(block, size)};
    for (std::size_t at = page_bytes; at < size; at += page_bytes) {
      bytes[at] = static_cast<unsigned char>(head[1] + at / page_bytes);
    }
    if (size > minimum_bytes) {
      bytes[size - 1] = static_cast<unsigned char>(head[1]);
    }
    std::memcpy(bytes, head, sizeof head);
  }

  // Returns the size that was written into the block.
  static std::size_t verify(const void* block) {
    const auto* bytes = static_cast<const unsigned char*>(block);
    std::uint32_t head[2];
    std::memcpy(head, bytes, sizeof head);
    const std::size_t size = head[0];
    check(head[1] == mark(block, size), "a block lost its contents (head)");
    if (size > minimum_bytes) {
      check(bytes[size - 1] == static_cast<unsigned char>(head[1]),
            "a block lost its contents (tail)");
    }
    for (std::size_t at = page_bytes; at + 1 < size; at += page_bytes) {
      check(bytes[at] == static_cast<unsigned char>(head[1] + at / page_bytes),
            "a block lost its contents (middle)");
    }
    return size;
  }

  static void* make(std::size_t size) {
    void* block = allocate(size);
    write(block, size);
    return block;
  }

  static std::size_t release(void* block) {
    const std::size_t size = verify(block);
    std::free(block);
    return size;
  }
};

} // namespace bench
