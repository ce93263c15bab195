// SPDX-License-Identifier: MIT
#include "replay.hpp"

#include <mete/mete.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "core.hpp"
#include "model.hpp"
#include "partner.hpp"

namespace fuzz {

namespace {

constexpr std::size_t block_alignment = 16;
constexpr std::size_t max_heaps = 4;

// The input, read as if zeros followed it.
class input {
public:
  input(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  bool at_end() const { return next_ == end_; }
  std::size_t byte() { return at_end() ? 0 : *next_++; }
  std::size_t pair() {
    const std::size_t high = byte();
    return high << 8 | byte();
  }
  // Up to 8 MiB, each doubling equally likely; one byte more decides within the doubling.
  std::size_t size() {
    const std::size_t bits = byte() % 24;
    const std::size_t low = std::size_t{1} << bits >> 1;
    return low + (low * byte() >> 8) + (bits > 4 ? byte() % 16 : 0);
  }

private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

enum class call : std::uint8_t {
  allocate,
  allocate_zeroed,
  allocate_aligned,
  reallocate,
  deallocate,
  usable_size,
  allocate_many,
  deallocate_many,
  collect,
  allocate_too_much,
  end_thread,
  heap_create,
  heap_destroy,
  heap_allocate,
  heap_allocate_zeroed,
  heap_allocate_aligned,
  count
};

class replayer {
public:
  replayer(const std::uint8_t* data, std::size_t size) : input_(data, size) {}

  void run() {
    while (!input_.at_end()) {
      const std::size_t code = input_.byte();
      const call what = static_cast<call>(code % 16);
      if (what == call::end_thread) {
        second_.reset();
      } else if (code < 128) {
        perform(what);
      } else {
        if (second_ == nullptr) {
          second_ = std::make_unique<partner>();
        }
        auto work = [this, what] { perform(what); };
        second_->run(work);
      }
    }
    finish();
  }

private:
  void perform(call what) {
    switch (what) {
    case call::allocate:
      return allocate(input_.size());
    case call::allocate_zeroed:
      return allocate_zeroed(input_.size());
    case call::allocate_aligned:
      return allocate_aligned();
    case call::reallocate:
      return reallocate();
    case call::deallocate:
      return deallocate(input_.pair(), input_.byte());
    case call::usable_size:
      return usable_size();
    case call::allocate_many:
      return allocate_many();
    case call::deallocate_many:
      return deallocate_many();
    case call::collect:
      return core::collect();
    case call::allocate_too_much:
      return allocate_too_much();
    case call::heap_create:
      return heap_create();
    case call::heap_destroy:
      return heap_destroy(input_.byte());
    default:
      return heap_call(what);
    }
  }

  // ---- calls of malloc's kind

  void allocate(std::size_t size) {
    if (model_.has_room(size)) {
      model_.add(core::allocate(size), size, block_alignment, nullptr);
    }
  }

  void allocate_zeroed(std::size_t size) {
    if (model_.has_room(size)) {
      void* address = core::allocate_zeroed(size);
      check_zero(address, address != nullptr ? size : 0);
      model_.add(address, size, block_alignment, nullptr);
    }
  }

  std::size_t alignment() { return std::size_t{1} << input_.byte() % 22; } // up to 2 MiB

  void allocate_aligned() {
    const std::size_t wanted = alignment();
    const std::size_t size = input_.size();
    if (model_.has_room(size + wanted)) {
      model_.add(core::allocate_aligned(wanted, size), size, wanted, nullptr);
    }
  }

  void reallocate() {
    const std::size_t index = input_.pair();
    std::size_t size = input_.size();
    size += size == 0 ? 1 : 0; // realloc to 0 is the standard interface's affair
    if (model_.count() == 0 || !model_.has_room(size)) {
      return;
    }
    const live_block old = model_.remove(index % model_.count());
    void* address = old.heap == nullptr || index % 2 == 0 // either leaves the block in its heap
                        ? core::reallocate(old.address, size)
                        : mete_heap_realloc(static_cast<mete_heap*>(old.heap), old.address, size);
    if (address == nullptr) {
      violation("no memory to resize it, though little is in use", old.address, size);
    }
    model_.check_moved(old, address, size);
    model_.add(address, size, block_alignment, old.heap);
  }

  void deallocate(std::size_t index, std::size_t way) {
    if (model_.count() == 0) {
      return core::deallocate(nullptr);
    }
    const live_block each = model_.remove(index % model_.count());
    if (each.heap != nullptr && way % 2 == 0) {
      return mete_heap_free(static_cast<mete_heap*>(each.heap), each.address);
    }
    core::deallocate(each.address);
  }

  void usable_size() {
    const std::size_t index = input_.pair();
    if (model_.count() == 0) {
      return;
    }
    const live_block& each = model_.at(index % model_.count());
    if (core::usable_size(each.address) < each.size) {
      violation("usable size is too small", each.address, each.size);
    }
    model_.check_contents(index % model_.count());
  }

  // Enough to fill caches and slabs, which single calls would take long inputs for.
  void allocate_many() {
    const std::size_t size = input_.size() % 9000;
    for (std::size_t left = 1 + input_.byte() * 4; left > 0; --left) {
      allocate(size);
    }
  }

  void deallocate_many() {
    const std::size_t start = input_.pair();
    const std::size_t stride = input_.byte();
    for (std::size_t left = 1 + input_.byte() * 4; left > 0 && model_.count() > 0; --left) {
      deallocate(start + left * stride, left);
    }
  }

  void allocate_too_much() {
    const std::size_t size = SIZE_MAX - (input_.byte() % 2 == 0 ? input_.pair() : SIZE_MAX / 2);
    errno = 0;
    if (core::allocate(size) != nullptr || errno != ENOMEM) {
      violation("more than the address space was not refused with ENOMEM", nullptr, size);
    }
  }

  // ---- explicit heaps

  void heap_create() {
    if (heaps_.size() == max_heaps) {
      return;
    }
    heaps_.push_back(mete_heap_create());
    if (heaps_.back() == nullptr) {
      violation("no memory for a heap, though little is in use", nullptr, 0);
    }
  }

  void heap_destroy(std::size_t index) {
    if (heaps_.empty()) {
      return;
    }
    mete_heap* heap = heaps_[index % heaps_.size()];
    for (std::size_t at = model_.count(); at-- > 0;) {
      if (model_.at(at).heap == heap) {
        model_.remove(at);
      }
    }
    heaps_.erase(heaps_.begin() + static_cast<std::ptrdiff_t>(index % heaps_.size()));
    mete_heap_destroy(heap);
  }

  void heap_call(call what) {
    const std::size_t index = input_.byte();
    const std::size_t wanted = what == call::heap_allocate_aligned ? alignment() : block_alignment;
    const std::size_t size = input_.size();
    if (heaps_.empty() || !model_.has_room(size + wanted)) {
      return;
    }
    mete_heap* heap = heaps_[index % heaps_.size()];
    void* address = nullptr;
    if (what == call::heap_allocate_aligned) {
      address = mete_heap_aligned_alloc(heap, wanted, size);
    } else if (what == call::heap_allocate_zeroed) {
      address = mete_heap_calloc(heap, 1, size);
      check_zero(address, address != nullptr ? size : 0);
    } else {
      address = mete_heap_malloc(heap, size);
    }
    model_.add(address, size, wanted, heap);
  }

  void finish() {
    while (!heaps_.empty()) {
      heap_destroy(0);
    }
    while (model_.count() > 0) {
      deallocate(model_.count() - 1, 0);
    }
    second_.reset();
  }

  input input_;
  model model_;
  std::vector<mete_heap*> heaps_;
  std::unique_ptr<partner> second_;
};

static_assert(static_cast<std::size_t>(call::count) == 16);

} // namespace

void replay(const std::uint8_t* data, std::size_t size) {
  replayer(data, size).run();
}

} // namespace fuzz
