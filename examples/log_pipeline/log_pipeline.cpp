// log_pipeline: many producers log records into a ring, one writer puts them into a file.
//
//   log_pipeline [--malloc] [--drop] [--rate=N] [--disk=N] [--stall=N] FILE
//
// A log call reserves its record in the ring, writes it there and commits; the writer collects what
// is there. When the disk is slow (--disk: MB/s) the ring becomes full: a log call waits or, with
// --drop, gives up and is counted. A producer that stalls before it commits (--stall: ms, once)
// holds up the others for the ring's stall_limit; then the writer goes on, commit() says so, and
// the record is logged again. At the end the file is read: each record whole, each producer's in
// order, none missing that was not counted. --rate: records a second of each producer, else as many
// as go.
// --malloc: strings in a deque under a mutex, which a stalled producer has not locked.
//
// SPDX-License-Identifier: MIT

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <fstream>
#include <mutex>
#include <span>
#include <string>
#include <sys/uio.h>
#include <thread>
#include <vector>

#include <mete/ring.hpp>

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
constexpr unsigned producers = 4, records = 50'000; // of each
constexpr std::size_t queue_bytes = 1 << 20;        // of records that wait, at most

struct settings {
  bool malloc = false, drop = false;
  unsigned rate = 0, disk = 0, stall = 0;
  const char* file = nullptr;
};

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "log_pipeline: %s\n", why.c_str());
  std::_Exit(1); // threads may be waiting for this one
}

// 8 % have 4 KiB of text, 0.5 % 16 to 64 KiB, the others 100 to 500 bytes.
struct log_record {
  log_record(unsigned producer, unsigned number) {
    std::uint64_t r = (std::uint64_t{producer} << 32 | (number + 1)) * 0x9E3779B97F4A7C15u;
    r ^= r >> 32;
    const auto kind = r % 1000, of_kind = r >> 10;
    const auto length = kind < 5 ? 16384 + of_kind % 49152 : kind < 85 ? 4096 : 100 + of_kind % 401;
    head = {producer, number, static_cast<unsigned>(length)};
  }
  std::size_t bytes() const { return sizeof head + head[2]; }
  char letter() const { return static_cast<char>('a' + head[1] % 26); } // all that its text is
  std::array<unsigned, 3> head; // producer, number, bytes of text
};

class in_ring {
public:
  // False: dropped, as there is no room. `stall`: how long the producer takes.
  bool log(const log_record& what, bool drop, std::chrono::milliseconds stall) {
    for (;; stall = 0ms) {
      auto place = drop ? ring_.try_reserve(what.bytes()) : ring_.reserve(what.bytes());
      if (!place)
        return false;
      std::byte* const to = place.bytes().data();
      std::memcpy(to, &what.head, sizeof what.head);
      std::memset(to + sizeof what.head, what.letter(), what.head[2]);
      std::this_thread::sleep_for(stall);
      if (place.commit()) // else the writer has gone on without it
        return true;
    }
  }
  void end() { ring_.reserve(0).commit(); } // a record of no bytes
  // What is there, valid until the next call. Waits for something; empty: it was the end.
  std::span<const iovec> collect() {
    if (last_ && last_.bytes().empty())
      return {};
    last_.release();
    std::size_t used = 0;
    for (last_ = ring_.read(); last_; last_ = ring_.try_read()) {
      const std::span<std::byte> bytes = last_.bytes();
      if (bytes.empty() || used + bytes.size() > batch_.size())
        break;
      std::memcpy(batch_.data() + used, bytes.data(), bytes.size());
      used += bytes.size();
      last_.release();
    }
    // What does not fit into the batch is written from where it lies.
    parts_ = {iovec{batch_.data(), used}, iovec{last_.bytes().data(), last_.bytes().size()}};
    return parts_;
  }
  std::size_t skipped() const { return ring_.skipped_records(); }

private:
  using ring = mete::ring<mete::producers::many>;
  ring ring_{{.name = "log",
              .capacity_bytes = queue_bytes,
              .blocking = true,
              .on_stall = mete::stalled_producer::skip,
              .stall_limit = 20ms}};
  std::vector<std::byte> batch_ = std::vector<std::byte>(256 << 10);
  std::array<iovec, 2> parts_;
  ring::record last_;
};

class in_deque {
public:
  bool log(const log_record& what, bool drop, std::chrono::milliseconds) {
    std::string record(reinterpret_cast<const char*>(&what.head), sizeof what.head);
    record.append(what.head[2], what.letter());
    std::unique_lock locked(mutex_);
    const auto has_room = [&] { return bytes_ + what.bytes() <= queue_bytes; };
    if (drop && !has_room())
      return false;
    room_.wait(locked, has_room);
    bytes_ += what.bytes();
    records_.push_back(std::move(record));
    some_.notify_one();
    return true;
  }
  void end() {
    const std::lock_guard locked(mutex_);
    ended_ = true;
    some_.notify_one();
  }
  std::span<const iovec> collect() {
    batch_.clear();
    std::unique_lock locked(mutex_);
    some_.wait(locked, [&] { return ended_ || !records_.empty(); });
    batch_.swap(records_);
    bytes_ = 0;
    locked.unlock();
    room_.notify_all();
    parts_.clear();
    for (std::string& each : batch_)
      parts_.push_back({each.data(), each.size()});
    return parts_;
  }
  static std::size_t skipped() { return 0; }

private:
  std::mutex mutex_;
  std::condition_variable some_, room_;
  std::deque<std::string> records_, batch_;
  std::vector<iovec> parts_;
  std::size_t bytes_ = 0; // of records_
  bool ended_ = false;
};

template <class Queue>
void write_all(Queue& queue, const settings& with) {
  const int file = ::open(with.file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  ssize_t bytes = file;
  for (std::span<const iovec> parts; bytes >= 0;) {
    if (parts.empty() && (parts = queue.collect()).empty())
      return;
    const auto some = parts.first(std::min<std::size_t>(parts.size(), IOV_MAX));
    bytes = ::writev(file, some.data(), static_cast<int>(some.size()));
    parts = parts.subspan(some.size());
    if (with.disk != 0)
      std::this_thread::sleep_for(1us * (bytes / with.disk));
  }
  fail(std::string("cannot write '") + with.file + "': " + std::strerror(errno));
}

// How many there are; the program ends if one is damaged or out of its producer's order.
unsigned verified_records(const char* name) {
  std::ifstream file(name);
  std::array<unsigned, producers> next{};
  unsigned count = 0;
  for (log_record found(0, 0); file.read(reinterpret_cast<char*>(&found.head), sizeof found.head);
       ++count) {
    const auto [producer, number, bytes] = found.head;
    const log_record sent(producer, number);
    std::string text(sent.head[2], ' ');
    if (producer >= producers || number < next[producer] || found.head != sent.head ||
        !file.read(text.data(), bytes) || text.find_first_not_of(sent.letter()) != text.npos)
      fail("record " + std::to_string(count) + " in '" + name + "' is damaged or too late");
    next[producer] = number + 1;
  }
  return count;
}

template <class Queue>
void run(const settings& with) {
  Queue queue;
  std::vector<unsigned> took(producers * records); // ns, each call
  std::atomic<unsigned> running = producers, dropped = 0;
  const auto start = steady_clock::now();
  const auto produce = [&](unsigned producer) {
    for (unsigned number = 0; number < records; ++number) {
      if (with.rate != 0) // a burst each ms
        std::this_thread::sleep_until(start + 1ms * (std::uint64_t{number} * 1000 / with.rate));
      const bool stalls = producer == 0 && number == records / 2;
      const log_record what(producer, number);
      const auto before = steady_clock::now();
      dropped += !queue.log(what, with.drop, stalls ? 1ms * with.stall : 0ms);
      took[producer * records + number] =
          static_cast<unsigned>((steady_clock::now() - before) / 1ns);
    }
    if (--running == 0)
      queue.end();
  };
  std::vector<std::jthread> threads;
  for (unsigned each = 0; each < producers; ++each)
    threads.emplace_back(produce, each);
  write_all(queue, with);
  const std::chrono::duration<double> seconds = steady_clock::now() - start;
  const unsigned written = verified_records(with.file);
  if (written + dropped != took.size())
    fail(std::to_string(took.size() - written - dropped) + " records are missing");
  std::sort(took.begin(), took.end());
  const auto at = [&](std::size_t in_1000) { return took[took.size() * in_1000 / 1000]; };
  std::printf("%u written, %u dropped, %zu logged again\nmetric seconds %.3f\nmetric p50_ns %u\n"
              "metric p99_ns %u\nmetric p99.9_ns %u\n",
              written, dropped.load(), queue.skipped(), seconds.count(), at(500), at(990), at(999));
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  settings with;
  bool understood = true;
  for (int i = 1; i < count; ++i) {
    const std::string_view each = arguments[i];
    if (each == "--malloc" || each == "--drop")
      (each == "--drop" ? with.drop : with.malloc) = true;
    else if (with.file == nullptr && !each.starts_with('-'))
      with.file = arguments[i];
    else
      understood &= std::sscanf(arguments[i], "--rate=%u", &with.rate) == 1 ||
                    std::sscanf(arguments[i], "--disk=%u", &with.disk) == 1 ||
                    std::sscanf(arguments[i], "--stall=%u", &with.stall) == 1;
  }
  if (!understood || with.file == nullptr)
    fail("usage: log_pipeline [--malloc] [--drop] [--rate=N] [--disk=N] [--stall=N] FILE");
  with.malloc ? run<in_deque>(with) : run<in_ring>(with);
}
