// The search: fibers, the choice list, vector clocks, states seen, and the trace of a failure.
// The design is in interleave.hpp.
//
// SPDX-License-Identifier: MIT
#include "interleave.hpp"

#include <ucontext.h>

#include <cstdio>
#include <unordered_set>
#include <vector>

#include "fiber_sanitizer.hpp"

namespace mete::interleave {

namespace {

constexpr std::size_t stack_bytes = 256 * 1024;
constexpr std::size_t nobody = max_threads;

// Mixes one word into a hash; the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  hash = (hash ^ word) + 0x9e3779b97f4a7c15U;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9U;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebU;
  return hash ^ (hash >> 31);
}

std::uint64_t mix(std::uint64_t hash, const vector_clock& clock) {
  for (const std::uint32_t time : clock) {
    hash = mix(hash, time);
  }
  return hash;
}

void join(vector_clock& into, const vector_clock& other) {
  for (std::size_t thread = 0; thread < max_threads; ++thread) {
    into[thread] = into[thread] < other[thread] ? other[thread] : into[thread];
  }
}

bool happened_before(const vector_clock& earlier, const vector_clock& now) {
  for (std::size_t thread = 0; thread < max_threads; ++thread) {
    if (earlier[thread] > now[thread]) {
      return false;
    }
  }
  return true;
}

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst || order == std::memory_order_consume;
}

bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

const char* name_of(std::memory_order order) {
  switch (order) {
  case std::memory_order_relaxed:
    return "relaxed";
  case std::memory_order_consume:
    return "consume";
  case std::memory_order_acquire:
    return "acquire";
  case std::memory_order_release:
    return "release";
  case std::memory_order_acq_rel:
    return "acq_rel";
  default:
    return "seq_cst";
  }
}

const char* name_of(operation kind) {
  switch (kind) {
  case operation::load:
    return "load";
  case operation::store:
    return "store";
  case operation::exchange:
    return "exchange";
  case operation::add:
    return "add";
  case operation::bit_or:
    return "or";
  case operation::bit_and:
    return "and";
  case operation::compare:
    return "compare-exchange";
  default:
    return "wait";
  }
}

struct logical_thread {
  ucontext_t context{};
  fiber_sanitizer sanitizer;
  std::unique_ptr<std::byte[]> stack;
  bool alive = false;
  operation pending = operation::load;
  condition ready;
  std::size_t operations_left = SIZE_MAX; // see vanish_after()
  std::uint64_t history = 0;              // hash of all it has read
  vector_clock clock{};
};

struct step {
  std::size_t thread;
  const variable* target;
  const char* what;
  const char* order;
  std::uint64_t old_bits;
  std::uint64_t new_bits;
};

struct choice {
  std::size_t taken;
  std::size_t options;
};

} // namespace

class explorer {
public:
  static inline explorer* active = nullptr;

  explorer(const program& subject, const options& settings)
      : subject_(subject), settings_(settings) {
    for (std::size_t index = 0; index < subject.thread_count; ++index) {
      threads_[index].stack = std::make_unique<std::byte[]>(stack_bytes);
    }
    active = this;
  }
  ~explorer() { active = nullptr; }

  outcome search();

  // Called from within the world.
  void add(variable& target) { variables_.push_back(&target); }
  bool threads_run() const { return running_ != nobody; }
  void scheduling_point(operation kind, condition ready);
  void account(variable& target, std::memory_order order, bool reads, bool writes,
               std::uint64_t new_bits);
  void plain(variable& target, bool writes, std::uint64_t new_bits);
  void fail(const char* what, const char* name = nullptr);
  void limit_operations(std::size_t operations) { threads_[running_].operations_left = operations; }

private:
  void run_once();
  void start_threads();
  static void start(logical_thread& thread);
  bool next_schedule();
  std::size_t pick(std::size_t current);
  std::size_t choose(std::size_t option_count, std::size_t current);
  std::uint64_t state(std::size_t current) const;
  void switch_to(std::size_t thread);
  static void enter();
  std::string describe_failure() const;

  const program& subject_;
  const options& settings_;
  outcome result_;

  // The search.
  std::vector<choice> schedule_;
  std::unordered_set<std::uint64_t> seen_;

  // The run.
  std::array<logical_thread, max_threads> threads_;
  ucontext_t search_context_{};
  fiber_sanitizer search_sanitizer_;
  std::vector<variable*> variables_;
  std::vector<step> trace_;
  std::size_t running_ = nobody;
  std::size_t depth_ = 0;
  int preemptions_ = 0;
  bool starting_ = false;
  bool completed_ = false;
};

// ---- the search -------------------------------------------------------------------------------

outcome explorer::search() {
  do {
    run_once();
    ++result_.executions;
    if (!result_.failure.empty()) {
      break;
    }
    if (result_.executions == settings_.max_executions) {
      result_.failure = "gave up: more than max_executions schedules";
      result_.report = result_.failure;
      break;
    }
  } while (next_schedule());
  result_.states = seen_.size();
  result_.passed = result_.failure.empty();
  return result_;
}

// One run from the start: the choices of schedule_, then the first option at every new point.
void explorer::run_once() {
  variables_.clear();
  trace_.clear();
  depth_ = 0;
  preemptions_ = 0;
  completed_ = false;
  subject_.build(subject_.world, subject_.arguments);
  start_threads();
  const std::size_t first = result_.failure.empty() ? pick(nobody) : nobody;
  if (first != nobody) {
    switch_to(first);
  }
  running_ = nobody;
  if (completed_) {
    ++result_.completed;
    subject_.finish(subject_.world);
  }
  // The report names variables of this world.
  if (!result_.failure.empty()) {
    result_.report = describe_failure();
  }
  subject_.destroy(subject_.world);
}

// Brings each thread to its first operation.
void explorer::start_threads() {
  starting_ = true;
  for (std::size_t index = 0; index < subject_.thread_count && result_.failure.empty(); ++index) {
    start(threads_[index]);
    threads_[index].history = mix(0, index);
    switch_to(index);
  }
  starting_ = false;
}

// Apart from the loop, because getcontext may, for all the compiler knows, return twice.
void explorer::start(logical_thread& thread) {
  thread.alive = true;
  thread.ready = {};
  thread.operations_left = SIZE_MAX;
  thread.clock = {};
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = stack_bytes;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, &explorer::enter, 0);
  thread.sanitizer.create(thread.stack.get(), stack_bytes);
}

void explorer::enter() {
  explorer& self = *active;
  const std::size_t index = self.running_;
  self.threads_[index].sanitizer.arrived(&self.search_sanitizer_);
  self.subject_.thread(self.subject_.world, index);
  self.threads_[index].alive = false;
  const std::size_t next = self.starting_ ? nobody : self.pick(index);
  self.switch_to(next);
}

// The last choice that has an option left takes it; later ones start afresh.
bool explorer::next_schedule() {
  while (!schedule_.empty()) {
    choice& last = schedule_.back();
    if (++last.taken < last.options) {
      return true;
    }
    schedule_.pop_back();
  }
  return false;
}

// ---- one run ----------------------------------------------------------------------------------

void explorer::scheduling_point(operation kind, condition ready) {
  const std::size_t self = running_;
  logical_thread& thread = threads_[self];
  thread.pending = kind;
  thread.ready = ready;
  if (thread.operations_left == 0) {
    thread.alive = false;
  } else if (thread.operations_left != SIZE_MAX) {
    --thread.operations_left;
  }
  switch_to(starting_ ? nobody : pick(self));
}

// Who performs the next operation; nobody: this run is over.
std::size_t explorer::pick(std::size_t current) {
  std::array<std::size_t, max_threads> ready{};
  std::size_t count = 0;
  bool current_ready = false;
  bool any_alive = false;
  for (std::size_t offset = 0; offset < subject_.thread_count; ++offset) {
    // The current thread first: the first schedule tried is the one without preemptions.
    const std::size_t index = ((current == nobody ? 0 : current) + offset) % subject_.thread_count;
    const logical_thread& thread = threads_[index];
    any_alive = any_alive || thread.alive;
    if (thread.alive && (!thread.ready.check || thread.ready.check(thread.ready.context))) {
      current_ready = current_ready || index == current;
      ready[count++] = index;
    }
  }
  if (count == 0) {
    completed_ = !any_alive;
    if (any_alive) {
      fail("deadlock: every thread waits");
    }
    return nobody;
  }
  if (depth_ >= settings_.max_steps) {
    fail("livelock: the run exceeds max_steps");
    return nobody;
  }
  if (current_ready && preemptions_ == settings_.max_preemptions) {
    count = 1;
  }
  const std::size_t option = choose(count, current);
  if (option == nobody) {
    return nobody;
  }
  preemptions_ += current_ready && ready[option] != current ? 1 : 0;
  return ready[option];
}

// Which of the options: as the schedule says, beyond it the first, unless this state is known.
std::size_t explorer::choose(std::size_t option_count, std::size_t current) {
  if (depth_ == schedule_.size()) {
    if (settings_.merge_states && !seen_.insert(state(current)).second) {
      return nobody;
    }
    schedule_.push_back({0, option_count});
  }
  const choice& here = schedule_[depth_];
  if (here.options != option_count) {
    fail("the world is not deterministic: a replay took another course");
    return nobody;
  }
  ++depth_;
  return here.taken;
}

std::uint64_t explorer::state(std::size_t current) const {
  std::uint64_t hash = 0;
  for (std::size_t index = 0; index < subject_.thread_count; ++index) {
    const logical_thread& thread = threads_[index];
    hash = mix(mix(mix(hash, thread.history), thread.alive ? 1 : 0), thread.clock);
  }
  for (const variable* each : variables_) {
    hash = mix(mix(hash, each->bits_), each->released_);
    hash = mix(mix(hash, each->read_), each->written_);
  }
  if (settings_.max_preemptions >= 0) {
    hash = mix(mix(hash, current), static_cast<std::uint64_t>(preemptions_));
  }
  return hash;
}

// Goes on as `thread`; nobody: back to the search, and this fiber is never resumed when threads
// run.
void explorer::switch_to(std::size_t thread) {
  const std::size_t self = running_;
  if (self == thread) {
    return;
  }
  running_ = thread;
  ucontext_t& from = self == nobody ? search_context_ : threads_[self].context;
  ucontext_t& to = thread == nobody ? search_context_ : threads_[thread].context;
  fiber_sanitizer& leaving = self == nobody ? search_sanitizer_ : threads_[self].sanitizer;
  fiber_sanitizer& entering = thread == nobody ? search_sanitizer_ : threads_[thread].sanitizer;
  leaving.leave_for(entering);
  swapcontext(&from, &to);
  leaving.arrived(nullptr);
}

// ---- clocks -----------------------------------------------------------------------------------

void explorer::account(variable& target, std::memory_order order, bool reads, bool writes,
                       std::uint64_t new_bits) {
  logical_thread& thread = threads_[running_];
  trace_.push_back(
      {running_, &target, name_of(thread.pending), name_of(order), target.bits_, new_bits});
  ++thread.clock[running_];
  if (!happened_before(target.written_, thread.clock)) {
    fail("data race: an atomic access, and its variable made anew", target.name_);
  }
  target.read_[running_] = thread.clock[running_];
  thread.history = mix(thread.history, reads ? target.bits_ : 1);
  if (reads && acquires(order)) {
    join(thread.clock, target.released_);
  }
  if (writes && !reads) {
    target.released_ = {}; // a plain store ends the release sequence
  }
  if (writes && releases(order)) {
    join(target.released_, thread.clock);
  }
  target.bits_ = new_bits;
}

void explorer::plain(variable& target, bool writes, std::uint64_t new_bits) {
  logical_thread& thread = threads_[running_];
  trace_.push_back({running_, &target, writes ? "write" : "read", "plain", target.bits_, new_bits});
  ++thread.clock[running_];
  if (!happened_before(target.written_, thread.clock) ||
      (writes && !happened_before(target.read_, thread.clock))) {
    fail("data race: no order between two accesses, one of them plain", target.name_);
  }
  (writes ? target.written_ : target.read_)[running_] = thread.clock[running_];
  thread.history = mix(thread.history, writes ? 1 : target.bits_);
  target.bits_ = new_bits;
}

// ---- failures ---------------------------------------------------------------------------------

void explorer::fail(const char* what, const char* name) {
  if (result_.failure.empty()) {
    result_.failure = what;
    if (name != nullptr) {
      result_.failure += std::string(": ") + name;
    }
  }
  if (threads_run()) {
    completed_ = false;
    switch_to(nobody);
  }
}

std::string explorer::describe_failure() const {
  std::string text = result_.failure + "\nafter " + std::to_string(result_.executions) +
                     " other schedules; the failing one:\n";
  char line[256];
  for (std::size_t index = 0; index < trace_.size(); ++index) {
    const step& each = trace_[index];
    char thread[32];
    char target[32];
    std::snprintf(thread, sizeof thread, "thread %zu", each.thread);
    std::size_t id = 0;
    while (variables_[id] != each.target) {
      ++id;
    }
    std::snprintf(target, sizeof target, "variable %zu", id);
    std::snprintf(line, sizeof line, "%4zu  %-16s %-20s %-16s 0x%llx -> 0x%llx  (%s)\n", index + 1,
                  subject_.thread_name != nullptr ? subject_.thread_name(each.thread) : thread,
                  each.target->name_ != nullptr ? each.target->name_ : target, each.what,
                  static_cast<unsigned long long>(each.old_bits),
                  static_cast<unsigned long long>(each.new_bits), each.order);
    text += line;
  }
  return text;
}

// ---- what the header calls --------------------------------------------------------------------

variable::variable(std::uint64_t bits) : bits_(bits) {
  if (explorer::active != nullptr) {
    explorer::active->add(*this);
  }
}

namespace {
// Before and after the threads, a world's operations are ordinary ones.
bool threads_run() {
  return explorer::active != nullptr && explorer::active->threads_run();
}
} // namespace

void before(variable&, operation kind, condition ready) {
  if (threads_run()) {
    explorer::active->scheduling_point(kind, ready);
  }
}

void variable::load(std::memory_order order) {
  if (threads_run()) {
    explorer::active->account(*this, order, true, false, bits_);
  }
}

void variable::store(std::uint64_t bits, std::memory_order order) {
  if (threads_run()) {
    explorer::active->account(*this, order, false, true, bits);
  }
  bits_ = bits;
}

void variable::update(std::uint64_t bits, std::memory_order order) {
  if (threads_run()) {
    explorer::active->account(*this, order, true, true, bits);
  }
  bits_ = bits;
}

void variable::plain_read() {
  if (threads_run()) {
    explorer::active->plain(*this, false, bits_);
  }
}

void variable::plain_write(std::uint64_t bits) {
  if (threads_run()) {
    explorer::active->plain(*this, true, bits);
  }
  bits_ = bits;
}

void check(bool holds, const char* what) {
  if (!holds) {
    explorer::active->fail(what);
  }
}

void vanish_after(std::size_t operations) {
  explorer::active->limit_operations(operations);
}

outcome explore(const program& subject, const options& settings) {
  return explorer(subject, settings).search();
}

} // namespace mete::interleave
