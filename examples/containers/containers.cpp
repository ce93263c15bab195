// containers: the standard containers on the toolkit's allocators, at the same work.
//
//   containers [{--malloc | --on MEMORY} {index | lru | graph}]
//
// index: the words of texts, each with its places in a map, one text after the other. lru: a cache
// of strings that come and go, in a list and a hash table. graph: how far all nodes are from some;
// edges are vectors that grow. With a memory and a job it prints the time; else a table, each run
// in a process of its own: time, and how far the resident memory rose. --malloc is std::allocator.
//
// Their allocator is a template's parameter: std::allocator, std::pmr::polymorphic_allocator, or
// mete::stl, which makes no virtual calls.
//
// SPDX-License-Identifier: MIT

#include <chrono>
#include <cstdio>
#include <list>
#include <map>
#include <memory_resource>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

#include <mete/toolkit.hpp>

namespace {

// A step of SplitMix64: S. Vigna's public-domain constants.
std::uint64_t mix(std::uint64_t state) {
  state += 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}

// The containers with one allocator; what they hold is given it by hand, as mete::stl wants it.
template <template <class> class Allocator>
struct with {
  using memory = Allocator<std::byte>;
  template <class T>
  using vector = std::vector<T, Allocator<T>>;
  template <class T>
  using list = std::list<T, Allocator<T>>;
  using string = std::basic_string<char, std::char_traits<char>, Allocator<char>>;
  template <class Key, class T>
  using map = std::map<Key, T, std::less<>, Allocator<std::pair<const Key, T>>>;
  template <class Key, class T>
  using hash_map = std::unordered_map<Key, T, std::hash<Key>, std::equal_to<>,
                                      Allocator<std::pair<const Key, T>>>;
};
using pmr = with<std::pmr::polymorphic_allocator>;

// Few words are frequent, as in a language.
std::string_view word(std::uint64_t r, char (&room)[24]) {
  const std::uint64_t letters = mix((r % 4096) * ((r >> 12) % 4096) >> 12);
  const std::size_t length = 3 + letters % 20;
  for (std::size_t i = 0; i < length; ++i)
    room[i] = static_cast<char>('a' + (letters >> i) % 26);
  return {room, length};
}

// The words of one text and their places; the checksum is of the frequent ones, in their order.
template <class C>
std::uint64_t index_text(std::uint64_t text, const typename C::memory& memory) {
  using string = typename C::string;
  using numbers = typename C::template vector<unsigned>;
  typename C::template map<string, numbers> places(memory);
  char room[24];
  for (unsigned at = 0; at < 3000; ++at) {
    const std::string_view found = word(mix(text << 32 | at), room);
    auto entry = places.find(found);
    if (entry == places.end())
      entry = places.try_emplace(string(found, memory), numbers(memory)).first;
    entry->second.push_back(at);
  }
  std::uint64_t sum = 0;
  for (const auto& [spelling, where] : places)
    if (where.size() > 2)
      sum = mix(sum + spelling.size()) + where.back();
  return sum;
}

// The strings that were used last, and where they stand.
template <class C>
std::uint64_t use_cache(const typename C::memory& memory) {
  using entry = std::pair<std::uint64_t, typename C::string>;
  using entries = typename C::template list<entry>;
  entries by_use(memory);
  typename C::template hash_map<std::uint64_t, typename entries::iterator> by_key(memory);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < 300'000; ++i) {
    const std::uint64_t r = mix(i), key = (r % 65536) * ((r >> 16) % 65536) >> 16;
    if (const auto known = by_key.find(key); known != by_key.end()) {
      by_use.splice(by_use.begin(), by_use, known->second);
      sum += known->second->second.size();
      continue;
    }
    if (by_key.size() == 10'000) {
      by_key.erase(by_use.back().first);
      by_use.pop_back();
    }
    by_use.emplace_front(key, typename C::string(8 + (r >> 32) % 200, 'x', memory));
    by_key.emplace(key, by_use.begin());
  }
  return sum;
}

// How far all nodes are from some of them.
template <class C>
std::uint64_t walk_graph(const typename C::memory& memory) {
  constexpr unsigned nodes = 20'000;
  using numbers = typename C::template vector<unsigned>;
  typename C::template vector<numbers> edges(nodes, numbers(memory), memory);
  for (unsigned i = 0; i < nodes * 8; ++i) // one vector grows, then another
    edges[mix(i) % nodes].push_back(static_cast<unsigned>(mix(~i) % nodes));
  std::uint64_t sum = 0;
  for (unsigned start = 0; start < 4; ++start) {
    typename C::template hash_map<unsigned, unsigned> steps(memory);
    typename C::template list<unsigned> waiting(memory);
    steps.emplace(start, 0);
    for (waiting.push_back(start); !waiting.empty(); waiting.pop_front())
      for (const unsigned next : edges[waiting.front()])
        if (steps.emplace(next, steps[waiting.front()] + 1).second)
          waiting.push_back(next);
    for (const auto& [node, distance] : steps)
      sum += std::uint64_t{node} * distance;
  }
  return sum;
}

using outcome = std::pair<std::uint64_t, double>; // checksum, ms

template <class C, class A>
outcome work(std::string_view job, const typename C::memory& memory, A& of) {
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t sum = job == "lru" ? use_cache<C>(memory) : 0;
  for (std::uint64_t text = 0; job == "index" && text < 150; ++text) {
    sum += index_text<C>(text, memory);
    if constexpr (requires { of.reset(); }) // all ends at once
      of.reset();
    else if constexpr (requires { of->reset(); })
      of->reset();
    else if constexpr (requires { of.release(); })
      of.release();
  }
  if (job == "graph")
    sum = walk_graph<C>(memory);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  return {sum, took.count()};
}

outcome on_malloc(std::string_view job) {
  std::allocator<std::byte> memory;
  return work<with<std::allocator>>(job, memory, memory);
}
outcome on_new_delete(std::string_view job) {
  std::pmr::memory_resource& resource = *std::pmr::new_delete_resource();
  return work<pmr>(job, &resource, resource);
}
outcome on_region_heap(std::string_view job) {
  static std::byte room[64 << 20];
  mete::resource<mete::region_heap> resource({.memory = room});
  return work<pmr>(job, &resource, resource);
}
template <class Resource>
outcome on(std::string_view job) {
  Resource resource;
  return work<pmr>(job, &resource, resource);
}
template <class A>
struct in {
  template <class T>
  using allocator = mete::stl<T, A>;
};
template <class A>
outcome on_stl(std::string_view job) {
  A memory;
  return work<with<in<A>::template allocator>>(job, memory, memory);
}

// Nodes in the one, what is larger in bins.
template <class Small>
using and_bins = mete::split_at<64, Small, mete::bins>;

constexpr std::pair<const char*, outcome (*)(std::string_view)> kinds[] = {
    {"malloc", on_malloc},
    {"new_delete", on_new_delete},
    {"monotonic", on<std::pmr::monotonic_buffer_resource>},
    {"unsynchronized_pool", on<std::pmr::unsynchronized_pool_resource>},
    {"arena", on<mete::resource<mete::arena>>},
    {"bins", on<mete::resource<mete::bins>>},
    {"pool_and_bins", on<mete::resource<and_bins<mete::pool>>>},
    {"slabs_and_bins", on<mete::resource<and_bins<mete::slab_cache>>>},
    {"shared_pool_and_bins", on<mete::resource<and_bins<mete::shared_pool>>>},
    {"buddy", on<mete::resource<mete::buddy>>},
    {"region_heap", on_region_heap},
    {"stl_arena", on_stl<mete::arena>},
    {"stl_bins", on_stl<mete::bins>},
    {"stl_pool_and_bins", on_stl<and_bins<mete::pool>>},
};

void print_cell(outcome (*run)(std::string_view), std::string_view job) {
  std::fflush(stdout);
  if (fork() != 0)
    return static_cast<void>(wait(nullptr));
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const double ms = run(job).second;
  getrusage(RUSAGE_SELF, &after);
  const auto kib = static_cast<double>(after.ru_maxrss - before.ru_maxrss);
  std::printf(" %7.1f ms %5.1f MiB", ms, kib / 1024);
  std::fflush(stdout);
  _exit(0);
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  std::string_view name, job;
  for (int i = 1; i < count; ++i)
    if (const std::string_view each = arguments[i]; each == "--malloc")
      name = "malloc";
    else if (each == "--on" && i + 1 < count)
      name = arguments[++i];
    else
      job = each;
  for (const auto& [each, run] : kinds)
    if (each == name && (job == "index" || job == "lru" || job == "graph")) {
      const auto [checksum, ms] = run(job);
      std::printf("checksum %llu\nmetric ms %.3f\n", static_cast<unsigned long long>(checksum), ms);
      return 0;
    }
  if (count > 1) {
    std::fprintf(stderr, "usage: containers [{--malloc | --on MEMORY} {index | lru | graph}]; its "
                         "table, without arguments, names the memories\n");
    return 2;
  }
  std::printf("%-20s %21s %21s %21s\n", "", "index", "lru", "graph");
  for (const auto& [each, run] : kinds) {
    std::printf("%-20s", each);
    for (const char* const one : {"index", "lru", "graph"})
      print_cell(run, one);
    std::puts("");
  }
}
