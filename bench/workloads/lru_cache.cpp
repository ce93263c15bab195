// SPDX-License-Identifier: MIT
// A least-recently-used cache with a byte limit, run for a long time while the usual size of the
// values drifts: what was freed in one size must serve another, and memory must not creep up. The
// effect is the one described for caching servers (memcached's slab calcification, Redis's memory
// fragmentation ratio). Prints resident memory at the end over the bytes that the cache holds.

#include "support.hpp"

#include <list>
#include <string>
#include <unordered_map>

namespace {

struct entry {
  std::uint64_t key;
  std::string value;
};

class cache {
public:
  explicit cache(std::size_t limit) : limit_(limit) {}

  // Null when the key is not cached.
  const std::string* find(std::uint64_t key) {
    const auto found = index_.find(key);
    if (found == index_.end()) {
      return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->value;
  }

  void insert(std::uint64_t key, std::string value) {
    bytes_ += value.size();
    entries_.push_front({key, std::move(value)});
    index_.emplace(key, entries_.begin());
    while (bytes_ > limit_) {
      bytes_ -= entries_.back().value.size();
      index_.erase(entries_.back().key);
      entries_.pop_back();
    }
  }

  bool consistent() const {
    std::size_t bytes = 0;
    for (const entry& each : entries_) {
      bytes += each.value.size();
    }
    return bytes == bytes_ && bytes <= limit_ && entries_.size() == index_.size();
  }

  std::size_t bytes() const { return bytes_; }

private:
  std::size_t limit_;
  std::size_t bytes_ = 0;
  std::list<entry> entries_;
  std::unordered_map<std::uint64_t, std::list<entry>::iterator> index_;
};

char fill_of(std::uint64_t key) {
  return static_cast<char>('a' + key % 26);
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const std::uint64_t requests = arguments.number("--requests", 2'000'000, 350'000);
  const std::size_t limit = arguments.number("--limit-mebibytes", 64, 32) << 20;
  const std::uint64_t seed = arguments.number("--seed", 1, 1);
  arguments.finish();

  constexpr std::uint64_t usual_sizes[] = {128, 512, 1024, 256, 2048, 64, 768, 384};
  bench::random_source random(seed);
  cache values(limit);
  std::uint64_t hits = 0;
  for (std::uint64_t i = 0; i < requests; ++i) {
    const std::uint64_t usual = usual_sizes[i * std::size(usual_sizes) / requests];
    // The product of two uniform numbers favours small keys: some are hot, most are not.
    const std::uint64_t key = random.below(1000) * random.below(1000) + random.below(1000);
    if (const std::string* value = values.find(key)) {
      ++hits;
      bench::check(value->empty() ||
                       (value->front() == fill_of(key) && value->back() == fill_of(key)),
                   "a value is wrong");
    } else {
      values.insert(key, std::string(random.between(usual / 2, usual * 2), fill_of(key)));
    }
  }
  bench::check(values.consistent(), "the cache is not consistent");
  bench::check(hits > requests / 20, "hardly a request was a hit");
  bench::metric("resident_to_cached", bench::resident_bytes() / static_cast<double>(values.bytes()),
                "ratio");
  return 0;
}
