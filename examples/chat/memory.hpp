// The memory of examples/chat: messages, what is known of each that is to be sent, the events on
// their way from the readers to the speaker, and scratch for one line.
//
// SPDX-License-Identifier: MIT
#ifndef METE_EXAMPLES_CHAT_MEMORY_HPP
#define METE_EXAMPLES_CHAT_MEMORY_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory_resource>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>

#include <mete/adapt.hpp>
#include <mete/arena.hpp>
#include <mete/object_pool.hpp>
#include <mete/ring.hpp>
#include <mete/shared_pool.hpp>

#include "../support/plain_memory.hpp"

struct client;

// Its text lies right behind it.
struct message {
  std::uint32_t unsent; // deliveries
  std::uint32_t bytes;

  char* text() { return reinterpret_cast<char*>(this + 1); }
};

// A message that one client is to get.
struct delivery {
  delivery* next;
  message* what;
};

struct event {
  enum kind_type { came, joined, said, answered, left } kind;
  client* from;
  message* what; // joined: its last word is the room's name
};

inline constexpr std::size_t max_text_bytes = 504;

// Messages are made by readers and freed by the speaker, which has the deliveries for itself.
struct toolkit {
  struct scratch {
    std::pmr::memory_resource* in() { return &resource; }
    void reset() { arena.reset(); }

    mete::arena arena{{.name = "scratch"}};
    mete::resource_ref<mete::arena> resource{arena};
  };

  void* allocate(std::size_t bytes) { return messages.allocate(bytes, alignof(message)); }
  void deallocate(message* gone) { messages.deallocate(gone); }
  delivery* make(message* what) { return deliveries.create(delivery{nullptr, what}).release(); }
  void end(delivery* gone) { deliveries.destroy(gone); }

  void put(const event& what) {
    auto place = events.reserve(sizeof(event)); // waits while the ring is full
    std::memcpy(place.bytes().data(), &what, sizeof(event));
    place.commit();
  }
  std::optional<event> take() {
    const auto record = events.try_read();
    if (!record)
      return std::nullopt;
    event taken{};
    std::memcpy(&taken, record.bytes().data(), sizeof(event));
    return taken;
  }
  std::size_t left() const { return messages.live_blocks() + deliveries.size(); }

  mete::shared_pool messages{
      {.name = "messages", .block_bytes = sizeof(message) + max_text_bytes, .alignment = 8}};
  mete::object_pool<delivery> deliveries{{.name = "deliveries"}};
  mete::ring<mete::producers::many> events{
      {.name = "events", .capacity_bytes = 1 << 18, .blocking = true}};
};

struct heap {
  struct scratch {
    static std::pmr::memory_resource* in() { return plain_memory::get(); }
    static void reset() {}
  };

  static void* allocate(std::size_t bytes) { return operator new(bytes); }
  static void deallocate(message* gone) { operator delete(gone); }
  static delivery* make(message* what) { return new delivery{nullptr, what}; }
  static void end(delivery* gone) { delete gone; }

  void put(const event& what) {
    const std::lock_guard locked(mutex);
    events.push_back(what);
  }
  std::optional<event> take() {
    const std::lock_guard locked(mutex);
    if (events.empty())
      return std::nullopt;
    const event taken = events.front();
    events.pop_front();
    return taken;
  }
  static std::size_t left() { return 0; }

  std::mutex mutex;
  std::deque<event> events;
};

#endif
