// The memory of examples/http: of what one thread serves, and of each of its connections. A
// connection begins a request, ends it, and waits for the next; its input buffer is there from
// input() to wait().
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_HTTP_MEMORY_HPP
#define METE_EXAMPLES_HTTP_MEMORY_HPP

#include <cstddef>
#include <memory>
#include <memory_resource>
#include <new>

#include <mete/adapt.hpp>
#include <mete/connection_memory.hpp>

#include "../support/plain_memory.hpp"
#include "request.hpp"

inline constexpr std::size_t buffer_bytes = 2 * max_header_bytes;

// An arena for each connection, made of buffers that all share. The end of a request is the arena's
// new start; no destructor runs, as all that one would free lies in the arena.
struct toolkit {
  class connection {
  public:
    explicit connection(toolkit& all) : all_(all.memory), arena_(all_.open()) {}

    request* begin() {
      return new (arena_->allocate(sizeof(request), alignof(request))) request(&resource_);
    }
    void end(request*) { arena_->end_request(); }
    char* input() {
      if (!input_ && !(input_ = all_.try_take_buffer()))
        throw std::bad_alloc();
      return reinterpret_cast<char*>(input_.bytes().data());
    }
    void wait() {
      input_ = {};
      arena_->end_request_and_wait();
    }

  private:
    mete::connection_memory& all_;
    mete::box<mete::connection> arena_;
    mete::resource_ref<mete::arena> resource_{*arena_};
    mete::connection_buffer input_;
  };

  std::size_t buffers() const { return memory.buffers(); }
  std::size_t peak_bytes() const { return memory.usage().peak_bytes; }

  mete::connection_memory memory{
      {.name = "http", .buffer_bytes = buffer_bytes, .limit_bytes = std::size_t{256} << 20}};
};

// The same on operator new.
struct heap {
  class connection {
  public:
    explicit connection(heap&) {}

    static request* begin() { return new request(plain_memory::get()); }
    static void end(request* over) { delete over; }
    char* input() {
      if (!input_)
        input_ = std::make_unique_for_overwrite<char[]>(buffer_bytes);
      return input_.get();
    }
    void wait() { input_.reset(); }

  private:
    std::unique_ptr<char[]> input_;
  };

  static std::size_t buffers() { return 0; } // nobody knows
  static std::size_t peak_bytes() { return 0; }
};

#endif
