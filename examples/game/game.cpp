// game: bullets, enemies and particles at 60 frames a second, and not one allocation in a frame.
//
//   game [--malloc] [frames]
//
// Bullets and particles live in object pools; the collision grid and the draw list, which last one
// frame, in a frame arena. All comes from one source, so "this frame allocated nothing" is two
// numbers that do not change: what the source has given out, and the calls of operator new. With
// --malloc the same game runs on std::unique_ptr and on containers that use the heap.
//
// Positions are whole numbers and no step depends on the order of objects, so both print the same
// checksum, on every machine.
//
// SPDX-License-Identifier: MIT

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <memory_resource>
#include <new>
#include <string_view>
#include <vector>

#include "../support/plain_memory.hpp"
#include <mete/adapt.hpp>
#include <mete/frame.hpp>
#include <mete/object_pool.hpp>

static std::size_t calls_of_new = 0;

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++calls_of_new;
  if (void* const block = std::malloc(bytes))
    return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept {
  operator delete(block);
}

namespace {

constexpr int width = 4096; // the world is a torus
constexpr int cell = 64;
constexpr int cells = width / cell;
constexpr int enemy_radius = 24;
constexpr std::size_t emitters = 128;

// A step of SplitMix64: S. Vigna's public-domain constants.
std::uint64_t mix(std::uint64_t state) {
  state += 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}
int between(std::uint64_t random, int low, int high) {
  return low + static_cast<int>(random % static_cast<std::uint64_t>(high - low + 1));
}

struct body {
  body() = default;
  body(int at_x, int at_y, int speed, std::uint64_t random)
      : x(at_x), y(at_y), dx(between(random, -speed, speed)),
        dy(between(random >> 16, -speed, speed)), frames_left(between(random >> 32, 20, 90)) {}

  bool step() {
    x = (x + dx + width) % width;
    y = (y + dy + width) % width;
    return --frames_left > 0;
  }
  int x, y, dx, dy; // in pixels, and pixels a frame
  int frames_left;
};
struct bullet : body {
  std::uint64_t seed;
};
struct particle : body {
  std::uint32_t colour;
};
struct enemy : body {
  int hits_left;
};
struct draw_command {
  int x, y;
  std::uint32_t sprite;
};
// All Ts that live. step(visit) visits each; the ones for which it returns false go.
template <class T>
class in_pool {
public:
  in_pool(const char* name, mete::source& from, std::size_t expected)
      : pool_({.name = name, .upstream = &from, .max_empty_bytes = SIZE_MAX}) {
    for (std::size_t i = 0; i < expected; ++i) // the slabs stay, so that no frame needs another
      (void)pool_.create().release();
    pool_.for_each([&](T& each) { pool_.destroy(&each); });
  }

  void add(const T& object) { (void)pool_.create(object).release(); }
  template <class Visit>
  void step(Visit visit) {
    pool_.for_each([&](T& each) {
      if (!visit(each))
        pool_.destroy(&each);
    });
  }

private:
  mete::object_pool<T> pool_;
};

template <class T>
class on_heap {
public:
  on_heap(const char*, mete::source&, std::size_t expected) { all_.reserve(expected); }
  void add(const T& object) { all_.push_back(std::make_unique<T>(object)); }
  template <class Visit>
  void step(Visit visit) {
    std::erase_if(all_, [&](const std::unique_ptr<T>& each) { return !visit(*each); });
  }

private:
  std::vector<std::unique_ptr<T>> all_;
};

template <template <class> class Objects>
class game {
public:
  // What lasts one frame comes from `of_frame`, all else from `memory`.
  game(mete::source& memory, std::pmr::memory_resource* of_frame)
      : bullets_("bullets", memory, 20'000), particles_("particles", memory, 150'000),
        of_frame_(of_frame) {}

  void frame() {
    draw_list list(of_frame_);
    move_bullets(move_enemies(list), list);
    particles_.step([&](particle& each) {
      list.push_back({each.x, each.y, each.colour});
      return each.step();
    });
    for (const draw_command& each : list) // a renderer would draw them
      checksum_ += static_cast<std::uint64_t>(each.x * width + each.y) ^ each.sprite;
    ++frame_;
  }

  std::uint64_t checksum() const { return checksum_; }

private:
  using draw_list = std::pmr::vector<draw_command>;
  using grid = std::pmr::vector<std::pmr::vector<enemy*>>;

  // Each enemy stands in every cell that it touches.
  grid move_enemies(draw_list& list) {
    grid where(cells * cells, of_frame_);
    for (enemy& each : enemies_) {
      if (each.hits_left <= 0) { // another one
        const std::uint64_t r = mix(++spawned_);
        each = {{between(r, 0, width - 1), between(r >> 16, 0, width - 1), 3, r >> 8}, 8};
      }
      each.step();
      list.push_back({each.x, each.y, 1});
      for (const int x : {each.x - enemy_radius, each.x + enemy_radius})
        for (const int y : {each.y - enemy_radius, each.y + enemy_radius})
          if (auto& in = where[cell_of(x, y)]; in.empty() || in.back() != &each)
            in.push_back(&each);
    }
    return where;
  }

  void move_bullets(const grid& where, draw_list& list) {
    for (std::size_t i = 0; i < emitters; ++i) {
      const std::uint64_t r = mix(frame_ * emitters + i);
      bullets_.add({{static_cast<int>(i) * 32, between(r, 0, width - 1), 9, r >> 8}, r});
    }
    bullets_.step([&](bullet& each) {
      bool hit = false;
      for (enemy* const near : where[cell_of(each.x, each.y)])
        if (std::hypot(near->x - each.x, near->y - each.y) <= enemy_radius) {
          --near->hits_left;
          hit = true;
        }
      for (std::uint64_t i = 0; hit && i < 32; ++i) {
        const std::uint64_t r = mix(each.seed + i);
        particles_.add({{each.x, each.y, 4, r}, static_cast<std::uint32_t>(r >> 40)});
      }
      list.push_back({each.x, each.y, 2});
      return !hit && each.step();
    });
  }

  static std::size_t cell_of(int x, int y) {
    const auto row = static_cast<std::size_t>((y + width) % width / cell);
    return row * cells + static_cast<std::size_t>((x + width) % width / cell);
  }

  Objects<bullet> bullets_;
  Objects<particle> particles_;
  std::array<enemy, 512> enemies_ = {};
  std::pmr::memory_resource* of_frame_;
  std::uint64_t frame_ = 0;
  std::uint64_t spawned_ = 0;
  std::uint64_t checksum_ = 0;
};

template <template <class> class Objects>
void play(std::size_t frames, bool on_malloc) {
  mete::heap_source memory;
  mete::frame_arena<2> arena({.name = "frame",
                              .upstream = &memory,
                              .first_chunk_bytes = 16 << 20,
                              .acquire_at_once = !on_malloc});
  mete::resource_ref in_arena(arena);
  game<Objects> running(memory, on_malloc ? plain_memory::get() : &in_arena);
  std::vector<double> times(frames); // in ms
  const std::size_t allocations_before = calls_of_new + memory.usage().acquisitions;
  for (std::size_t i = 0; i < frames; ++i) {
    const auto start = std::chrono::steady_clock::now();
    running.frame();
    arena.next_frame();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    times[i] = took.count();
  }
  const std::size_t allocations = calls_of_new + memory.usage().acquisitions - allocations_before;
  std::sort(times.begin(), times.end());
  std::printf("checksum %ju\n", std::uintmax_t{running.checksum()});
  std::printf("allocations in frames: %zu\n", allocations);
  std::printf("metric median_frame_ms %.3f\n", times[frames / 2]);
  std::printf("metric worst_frame_ms %.3f\n", times.back());
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends it, with a message
int main(int count, char** arguments) {
  const bool on_malloc = count > 1 && std::string_view(arguments[1]) == "--malloc";
  const int first = on_malloc ? 2 : 1;
  const int frames = count > first ? std::atoi(arguments[first]) : 1800;
  if (frames < 3 || count > first + 1) {
    std::fprintf(stderr, "usage: game [--malloc] [frames]\n");
    return 2;
  }
  on_malloc ? play<on_heap>(static_cast<std::size_t>(frames), true)
            : play<in_pool>(static_cast<std::size_t>(frames), false);
}
