// Runs a small concurrent program under every interleaving of its threads.
//
// Basic design. Logical threads are fibers (ucontext), so one run is deterministic and a schedule
// is just a list of choices: at each operation on a modelled_atomic, which thread goes next? A
// depth-first search over these lists, each run from the start, is complete for programs whose
// threads end.
//
// - States seen before are not explored again. A state is what every variable holds plus, per
// thread,
//   all that it has read so far: for a deterministic thread that decides its future. Without this,
//   three threads of ten operations have more schedules than a computer has minutes.
// - Memory orders count. Each thread and variable carries a vector clock that grows only as C++
// lets
//   it (release to acquire, release sequences through read-modify-writes). An access to a
//   modelled_plain, or a reset() of an atomic, that no clock orders is reported as a data race;
//   hence plain accesses need no scheduling points of their own.
// - What it is not: exploration is sequentially consistent. A load returns the newest value; stale
//   reads that weak memory allows are not tried, fences are not modelled, compare_exchange_weak
//   never fails spuriously. For these there are ThreadSanitizer runs, and thinking.
//
// Sources of ideas: CHESS (Musuvathi et al. 2008: replay, preemption bound), Relacy (Vyukov:
// modelled atomics in a header), loom (tokio: the same for Rust), FastTrack (Flanagan, Freund 2009:
// clocks), stateful search with hashed states (Holzmann's SPIN).
//
// Use: write a world
//   struct world {
//     static constexpr std::size_t thread_count = 2;   // at most max_threads
//     static const char* thread_name(std::size_t);     // if you like
//     modelled_atomic<int> x{0};
//     void thread(std::size_t index);                  // the program of each thread
//     void finish();                                   // after all have ended: check() the outcome
//   };
//   const outcome result = explore<world>({});
//   EXPECT_TRUE(result.passed) << result.report;
// Worlds are built anew in the same storage for each run, so pointers into them are stable.
// REQUIRES: threads are deterministic; members that are not modelled are used by one thread only
// (finish() excepted); a thread owns no resource on its stack across operations (abandoned runs
// don't unwind).
//
// SPDX-License-Identifier: MIT
#ifndef METE_TEST_SUPPORT_INTERLEAVE_HPP
#define METE_TEST_SUPPORT_INTERLEAVE_HPP

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace mete::interleave {

inline constexpr std::size_t max_threads = 4;

struct options {
  // Switches away from a thread that could go on; negative: any number.
  int max_preemptions = -1;
  // Off: count every schedule, also those that only reorder what commutes.
  bool merge_states = true;
  // A run longer than this is reported as a livelock.
  std::size_t max_steps = 2000;
  // The search gives up, not passed, after this many runs.
  std::uint64_t max_executions = 5'000'000;
};

struct outcome {
  bool passed = false;
  std::uint64_t executions = 0; // runs, complete or cut short at a state seen before
  std::uint64_t completed = 0;  // runs to the end
  std::uint64_t states = 0;     // distinct states (0 without merge_states)
  std::string failure;          // what was violated, one line
  std::string report;           // the same, the counts, and the failing schedule step by step
};

// clock[t]: how many operations of thread t are known to have happened.
using vector_clock = std::array<std::uint32_t, max_threads>;

enum class operation : std::uint8_t { load, store, exchange, add, bit_or, bit_and, compare, wait };

// What is common to all modelled variables: the value as bits, and the clocks.
class variable {
public:
  // Registers itself with the exploration under way, if any.
  explicit variable(std::uint64_t bits);
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;

  // The name in traces. `name` must outlive the exploration.
  void label(const char* name) { name_ = name; }

protected:
  // After an operation: clocks, trace, and the new value.
  void load(std::memory_order order);
  void store(std::uint64_t bits, std::memory_order order);
  void update(std::uint64_t bits, std::memory_order order);
  // Accesses without order: race detection.
  void plain_read();
  void plain_write(std::uint64_t bits);

  std::uint64_t bits_;

private:
  friend class explorer;
  const char* name_ = nullptr;
  vector_clock released_{}; // what an acquire of it makes known
  vector_clock read_{};     // each thread's last access: plain reads, or any atomic access
  vector_clock written_{};  // each thread's last plain write
};

// A scheduling point for an operation on `target`; returns when this thread's turn has come.
// `ready`, if given, holds the thread back until it says so.
struct condition {
  bool (*check)(const void*) = nullptr;
  const void* context = nullptr;
};
void before(variable& target, operation kind, condition ready = {});
// Ends the exploration with a failure unless `holds`.
void check(bool holds, const char* what);

// The calling thread is cut off before its (operations + 1)-th operation from now on, as a thread
// is that exists in the parent of a fork only.
void vanish_after(std::size_t operations);

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Stands in for std::atomic<T>.
template <class T>
class modelled_atomic : public variable {
public:
  modelled_atomic(T value = T{}) : variable(to_bits(value)) {}

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    auto& self = const_cast<modelled_atomic&>(*this);
    before(self, operation::load);
    self.variable::load(order);
    return from_bits<T>(bits_);
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    before(*this, operation::store);
    variable::store(to_bits(value), order);
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
    return change(operation::exchange, order, [value](T) { return value; });
  }
  T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) {
    return change(operation::add, order, [value](T old) { return static_cast<T>(old + value); });
  }
  T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst) {
    return change(operation::bit_or, order, [value](T old) { return static_cast<T>(old | value); });
  }
  T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst) {
    return change(operation::bit_and, order,
                  [value](T old) { return static_cast<T>(old & value); });
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) {
    before(*this, operation::compare);
    const T old = from_bits<T>(bits_);
    if (to_bits(old) != to_bits(expected)) {
      variable::load(failure);
      expected = old;
      return false;
    }
    variable::update(to_bits(desired), success);
    return true;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure) {
    return compare_exchange_strong(expected, desired, success, failure);
  }

  // Loads once `accept(value)` holds; until then the thread does not run. Use it instead of
  // spinning: a wait that nobody ends is reported as a deadlock.
  template <class Accept>
  T wait_until(Accept accept, std::memory_order order = std::memory_order_seq_cst) {
    struct waiting {
      const modelled_atomic* self;
      Accept* accept;
    } context{this, &accept};
    before(*this, operation::wait,
           {[](const void* raw) {
              const auto& wait = *static_cast<const waiting*>(raw);
              return (*wait.accept)(from_bits<T>(wait.self->bits_));
            },
            &context});
    variable::load(order);
    return from_bits<T>(bits_);
  }

  // Initialises it anew, as when its memory starts another life: an access that no clock orders
  // before (or after) this is a data race.
  void reset(T value) { plain_write(to_bits(value)); }

  // The value, outside the model: for finish().
  T peek() const { return from_bits<T>(bits_); }

private:
  template <class Change>
  T change(operation kind, std::memory_order order, Change result) {
    before(*this, kind);
    const T old = from_bits<T>(bits_);
    variable::update(to_bits(result(old)), order);
    return old;
  }
};

// Stands in for a plain T. Each access is checked for data races.
template <class T>
class modelled_plain : public variable {
public:
  modelled_plain(T value = T{}) : variable(to_bits(value)) {}

  operator T() const {
    const_cast<modelled_plain&>(*this).plain_read();
    return from_bits<T>(bits_);
  }
  modelled_plain& operator=(T value) {
    plain_write(to_bits(value));
    return *this;
  }
};

// The memory policy for code that is a template over it.
struct modelled_memory {
  template <class T>
  using atomic = modelled_atomic<T>;
  template <class T>
  using plain = modelled_plain<T>;
};

// A program as the search sees it.
struct program {
  std::size_t thread_count;
  void* world;
  void (*build)(void* world, const void* arguments);
  void (*destroy)(void* world);
  void (*thread)(void* world, std::size_t index);
  void (*finish)(void* world);
  const void* arguments;
  const char* (*thread_name)(std::size_t index); // null: numbers will do
};

outcome explore(const program& subject, const options& settings);

// Explores `World{arguments}`, or `World{}`.
template <class World, class... Arguments>
outcome explore(const options& settings, const Arguments&... arguments) {
  static_assert(World::thread_count <= max_threads);
  struct storage {
    alignas(World) std::byte bytes[sizeof(World)];
  };
  const auto room = std::make_unique<storage>();
  const auto builder = [&](void* world) { new (world) World(arguments...); };
  program subject{};
  subject.thread_count = World::thread_count;
  subject.world = room->bytes;
  subject.build = [](void* world, const void* build) {
    (*static_cast<const decltype(builder)*>(build))(world);
  };
  subject.destroy = [](void* world) { static_cast<World*>(world)->~World(); };
  subject.thread = [](void* world, std::size_t index) {
    static_cast<World*>(world)->thread(index);
  };
  subject.finish = [](void* world) { static_cast<World*>(world)->finish(); };
  subject.arguments = &builder;
  if constexpr (requires { World::thread_name(std::size_t{0}); }) {
    subject.thread_name = [](std::size_t index) { return World::thread_name(index); };
  }
  return explore(subject, settings);
}

} // namespace mete::interleave

#endif
