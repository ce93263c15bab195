// Blocks whose contents are known: made by every function that allocates, resized, checked to the
// last byte, freed as they were made, and handed to other threads.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "soak.hpp"

namespace soak {

// How a block was made, and so how it has to be freed.
enum class origin : unsigned char { malloc, scalar_new, array_new, aligned_new, sized_new };

struct block {
  unsigned char* address = nullptr;
  std::size_t size = 0;
  std::size_t alignment = 0; // asked for
  std::uint32_t key = 0;     // of its contents
  origin made_by = origin::malloc;
};

// Empty if memory was refused, which is a failure unless a limit was tight.
block make_block(random_source& random, unsigned size_bits);
void check_block(const block& block);
void resize_block(block& block, random_source& random, unsigned size_bits);
void free_block(block& block); // checks it, too

// Swaps with a random block that some thread left; never in a child of fork, where a thread that
// does not exist any more may have been in the middle of this.
void hand_over(block& block, random_source& random);
void empty_the_exchange();

// Some blocks, and a random thing done to one of them.
class holder {
public:
  static constexpr std::size_t capacity = 200;

  void step(random_source& random, bool others_may_have_it);
  void check_all() const;
  void free_all();
  void free_some(random_source& random);

private:
  block blocks_[capacity];
};

} // namespace soak
