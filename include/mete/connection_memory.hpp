// connection_memory: the memory of a server's connections: an arena for each, and buffers that all
// of them share.
//
// Basic design. A connection is an arena (arena.hpp) whose chunks are buffers of one size from a
// slab_cache (slab_cache.hpp) that all connections share; what needs more than a buffer comes from
// the source. Between two requests the arena starts anew and keeps its buffers; a connection that
// waits can give them back, and then costs its arena object only. Buffers for reading and writing
// come from the same slabs. (Per-connection and per-request pools are how Apache's APR and nginx
// manage memory.)
//
//   mete::connection_memory memory({.name = "http"});
//   mete::box<mete::connection> one = memory.open();
//   auto* header = one->make<http_header>();
//   ...
//   one->end_request();
//
// Thread safety: one thread at a time, the connections included: one connection_memory for each
// thread that serves.
//
// SPDX-License-Identifier: MIT
#ifndef METE_CONNECTION_MEMORY_HPP
#define METE_CONNECTION_MEMORY_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <mete/allocator.hpp>
#include <mete/arena.hpp>
#include <mete/object_pool.hpp>
#include <mete/slab_cache.hpp>
#include <mete/source.hpp>

namespace mete {

struct connection_memory_options {
  const char* name = "connection_memory";
  source* upstream = nullptr;         // nullptr: default_source()
  std::size_t buffer_bytes = 4096;    // at most 32 MiB
  std::size_t keep_bytes = 64 * 1024; // that a connection keeps between its requests
  std::size_t limit_bytes = SIZE_MAX; // held from the source at any time; no more is given
};

namespace detail {

// Gives a buffer of the cache for what fits into one, and the rest from the other source.
class shared_buffers final : public source {
public:
  shared_buffers(slab_cache& buffers, source& upstream) noexcept
      : buffers_(buffers), upstream_(upstream) {}

private:
  std::span<std::byte> do_acquire(std::size_t bytes, std::size_t alignment) noexcept override {
    if (bytes > buffers_.block_bytes() || alignment > default_alignment)
      return upstream_.acquire(bytes, alignment);
    void* const buffer = buffers_.try_allocate(buffers_.block_bytes());
    if (buffer == nullptr)
      return {};
    return {static_cast<std::byte*>(buffer), buffers_.block_bytes()};
  }
  // What came from upstream has more bytes than a buffer, or another alignment.
  void do_release(std::span<std::byte> block, std::size_t alignment) noexcept override {
    if (block.size() > buffers_.block_bytes() || alignment > default_alignment)
      upstream_.release(block, alignment);
    else
      buffers_.deallocate(block.data());
  }

  slab_cache& buffers_;
  source& upstream_;
};

} // namespace detail

// The memory of one connection: an arena. It ends with its box.
class connection : public arena {
public:
  connection(const arena_options& with, std::size_t keep_bytes) noexcept
      : arena(with), keep_bytes_(keep_bytes) {}

  // Ends everything that was allocated for the request. O(1) and the destructors, where the request
  // took no more than is kept; else also one step for each buffer.
  void end_request() noexcept { reset(keep_bytes_); }

  // The same, and keeps no buffer: for a connection that waits. O(its buffers).
  void end_request_and_wait() noexcept { reset(0); }

private:
  const std::size_t keep_bytes_;
};

// A buffer of the connection_memory that it came from, or none. Gives it back when it ends.
class [[nodiscard]] connection_buffer {
public:
  connection_buffer() noexcept = default;
  connection_buffer(slab_cache& from, void* buffer) noexcept : from_(&from), buffer_(buffer) {}
  connection_buffer(connection_buffer&& other) noexcept
      : from_(other.from_), buffer_(std::exchange(other.buffer_, nullptr)) {}
  connection_buffer& operator=(connection_buffer&& other) noexcept {
    std::swap(from_, other.from_);
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~connection_buffer() {
    if (buffer_ != nullptr)
      from_->deallocate(buffer_);
  }

  explicit operator bool() const noexcept { return buffer_ != nullptr; }
  // Empty if there is none.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    if (buffer_ == nullptr)
      return {};
    return {static_cast<std::byte*>(buffer_), from_->block_bytes()};
  }

private:
  slab_cache* from_ = nullptr;
  void* buffer_ = nullptr;
};

class connection_memory {
public:
  using options = connection_memory_options;

  // Acquires nothing yet.
  explicit connection_memory(const options& with = {}) noexcept
      : source_(with.upstream != nullptr ? *with.upstream : default_source(), with.limit_bytes),
        buffers_({.name = with.name, .upstream = &source_, .block_bytes = with.buffer_bytes}),
        chunks_(buffers_, source_), keep_bytes_(with.keep_bytes),
        connections_({.name = with.name, .upstream = &source_}) {}
  connection_memory(const connection_memory&) = delete;
  connection_memory& operator=(const connection_memory&) = delete;

  [[nodiscard]] const char* name() const noexcept { return buffers_.name(); }

  // O(1), but for the source. open() throws mete::out_of_memory; try_open() gives an empty box.
  // A connection has no buffer before its first allocation.
  [[nodiscard]] box<connection> open() {
    return connections_.create(for_connection(), keep_bytes_);
  }
  [[nodiscard]] box<connection> try_open() noexcept {
    return connections_.try_create(for_connection(), keep_bytes_);
  }

  // A buffer of buffer_bytes() for reading or writing. O(1), but for the source. take_buffer()
  // throws mete::out_of_memory; try_take_buffer() gives an empty one.
  connection_buffer take_buffer() { return {buffers_, buffers_.allocate(buffers_.block_bytes())}; }
  connection_buffer try_take_buffer() noexcept {
    return {buffers_, buffers_.try_allocate(buffers_.block_bytes())};
  }

  [[nodiscard]] std::size_t buffer_bytes() const noexcept { return buffers_.block_bytes(); }

  // How many connections are open, and how many buffers are in use. O(1).
  [[nodiscard]] std::size_t connections() const noexcept { return connections_.size(); }
  [[nodiscard]] std::size_t buffers() const noexcept { return buffers_.live_blocks(); }

  // Calls visit(connection) for each that is open, which it may end. O(connections).
  template <class Visit>
  void for_each(Visit visit) {
    connections_.for_each(visit);
  }

  // Gives back what nothing lives in. O(what goes).
  void trim() noexcept {
    connections_.trim();
    buffers_.trim();
  }

  // used_bytes: buffers in use, what did not fit into one, and the connections themselves. O(1).
  [[nodiscard]] allocator_usage usage() const noexcept {
    const source_usage held = source_.usage();
    const allocator_usage in_buffers = buffers_.usage();
    const allocator_usage open = connections_.usage();
    const std::size_t large = held.acquired_bytes - in_buffers.reserved_bytes - open.reserved_bytes;
    return {in_buffers.used_bytes + open.used_bytes + large, held.acquired_bytes, held.peak_bytes,
            0};
  }

private:
  arena_options for_connection() noexcept {
    return {.name = buffers_.name(),
            .upstream = &chunks_,
            .first_chunk_bytes = buffers_.block_bytes(),
            .max_chunk_bytes = buffers_.block_bytes()};
  }

  limit_source source_;
  slab_cache buffers_;
  detail::shared_buffers chunks_;
  const std::size_t keep_bytes_;
  object_pool<connection> connections_;
};

} // namespace mete

#endif
