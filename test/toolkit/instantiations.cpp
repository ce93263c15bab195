// Every member of the toolkit's templates, whether a test calls it or not: each must compile, and
// the lint sees all headers by this file.
//
// SPDX-License-Identifier: MIT
#include <mete/toolkit.hpp>

namespace {

struct thing {
  explicit thing(int with) : number(with) {}
  ~thing() { number = 0; }
  int number;
};

} // namespace

template class mete::frame_arena<1>;
template class mete::frame_arena<3>;
template class mete::basic_shared_stack<>;
template class mete::fixed_pool<24, 8, 100>;
template class mete::box<thing>;
template class mete::object_pool<thing>;
template class mete::game_memory<thing, int>;
template class mete::ring<mete::producers::one>;
template class mete::ring<mete::producers::many>;

template class mete::ref<mete::bins>;
template class mete::fallback<mete::pool, mete::bins>;
template class mete::split_at<64, mete::slab_cache, mete::ref<mete::bins>>;
template class mete::bucketize<mete::bucket<64, mete::pool>, mete::bucket<512, mete::arena>>;

// Of an arena, which has all that they pass on: Clang 14 instantiates members, too, whose
// constraints are not fulfilled.
template class mete::guarded<mete::arena>;
template class mete::counted<mete::arena>;
template class mete::locked<mete::counted<mete::guarded<mete::buddy>>>;

template class mete::resource<mete::region_heap>;
template class mete::resource_ref<mete::shared_pool>;
template class mete::stl<thing, mete::arena>;
