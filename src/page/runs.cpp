// SPDX-License-Identifier: MIT
#include "page/runs.hpp"

#include "base/bits.hpp"
#include "base/check.hpp"

namespace mete::page {
namespace {

constexpr std::uint32_t exact_bins = 32; // one bin for each length up to this
constexpr unsigned scan_limit = 12;      // entries looked at per bin: bounded work under the lock

// Calls visit(word, mask) for each word of a bitmap that the span touches.
template <class Visit>
void for_each_word(span bits, Visit visit) {
  std::uint32_t at = bits.first;
  const std::uint32_t end = bits.first + bits.count;
  while (at < end) {
    const std::uint32_t word = at / 64;
    const std::uint32_t in_word = at % 64;
    const std::uint32_t width = end - at < 64 - in_word ? end - at : 64 - in_word;
    visit(word, low_bits(width) << in_word);
    at += width;
  }
}

// The clock's milliseconds wrap after 49.7 days, and a small dirty run may wait for longer than
// that. So nothing is concluded from the sign of a difference: a run is young, or comes before
// another, if the difference is as small as it can be then, and otherwise old. At worst a run
// of 49.7 days seems new once more.

// The clock is read before the lock is taken, so a run may seem to be freed later than now. If it
// is by more than this, it is purged too early, which does no harm.
constexpr std::uint32_t clock_slack_ms = 1000;

bool is_younger(std::uint32_t freed_ms, std::uint32_t now_ms, std::uint32_t wait_ms) {
  const std::uint32_t age_ms = now_ms - freed_ms;
  return age_ms < wait_ms || age_ms > UINT32_MAX - clock_slack_ms;
}

bool before(std::uint32_t a, std::uint32_t b) {
  return b - a - 1 < clock_slack_ms;
}

} // namespace

void run_allocator::initialise(run_entry* entries, std::uint64_t* dirty_bits,
                               std::uint32_t granules, std::size_t base) {
  entries_ = entries;
  dirty_bits_ = dirty_bits;
  METE_DEBUG_CHECK(granules <= max_length);
  granules_ = granules;
  base_ = static_cast<std::uint32_t>(base);
  oldest_ = no_granule;
  newest_ = no_granule;
  dirty_granules_ = 0;
  free_granules_ = 0;
  for (bin_set& set : sets_) {
    for (std::uint64_t& word : set.occupied)
      word = 0;
    for (std::uint32_t& head : set.heads)
      head = no_granule;
  }
}

unsigned run_allocator::bin_of(std::uint32_t length) {
  if (length <= exact_bins)
    return length - 1;
  const unsigned power = log2_floor(length); // >= 5
  const unsigned eighth = (length >> (power - 3)) & 7;
  return exact_bins + (power - 5) * 8 + eighth;
}

std::uint32_t run_allocator::count_dirty(span examined) const {
  std::uint32_t count = 0;
  for_each_word(examined, [&](std::uint32_t word, std::uint64_t mask) {
    count += count_bits(dirty_bits_[word] & mask);
  });
  return count;
}

void run_allocator::mark_dirty(span marked) {
  for_each_word(marked, [&](std::uint32_t word, std::uint64_t mask) {
    dirty_granules_ += count_bits(mask & ~dirty_bits_[word]);
    dirty_bits_[word] |= mask;
  });
}

std::uint32_t run_allocator::clear_dirty(span cleared) {
  std::uint32_t count = 0;
  for_each_word(cleared, [&](std::uint32_t word, std::uint64_t mask) {
    const std::uint64_t dirty = dirty_bits_[word] & mask;
    if (dirty == 0)
      return; // not written: in a program that frees no runs, the bits' pages are never there
    count += count_bits(dirty);
    dirty_bits_[word] &= ~mask;
  });
  dirty_granules_ -= count;
  return count;
}

void run_allocator::write_entries(span run, run_state first, run_state last) {
  run_entry& last_entry = entries_[run.first + run.count - 1];
  last_entry.length = run.count & max_length; // all of it: initialise() checks
  last_entry.state = last;
  run_entry& first_entry = entries_[run.first];
  first_entry.length = run.count & max_length;
  first_entry.state = first;
}

void run_allocator::link(free_part run, std::uint32_t freed_ms, std::uint32_t older) {
  const auto [first, count] = run.where;
  METE_DEBUG_CHECK(run.dirty == count_dirty(run.where));
  write_entries(run.where, run_state::free, run_state::free);
  free_granules_ += count;
  run_entry& entry = entries_[first];
  entry.dirty = run.dirty;
  const unsigned bin = bin_of(count);
  bin_set& set = sets_[entry.dirty != 0];
  entry.previous = no_granule;
  entry.next = set.heads[bin];
  if (entry.next != no_granule)
    entries_[entry.next].previous = first;
  set.heads[bin] = first;
  set.occupied[bin / 64] |= std::uint64_t{1} << (bin % 64);
  entry.freed_ms = freed_ms;
  entry.older = no_granule;
  entry.newer = no_granule;
  if (entry.dirty == 0)
    return;
  while (older != no_granule && before(freed_ms, entries_[older].freed_ms))
    older = entries_[older].older;
  entry.older = older;
  entry.newer = older == no_granule ? oldest_ : entries_[older].newer;
  (entry.older == no_granule ? oldest_ : entries_[entry.older].newer) = first;
  (entry.newer == no_granule ? newest_ : entries_[entry.newer].older) = first;
}

void run_allocator::unlink(std::uint32_t first) {
  run_entry& entry = entries_[first];
  METE_DEBUG_CHECK(entry.state == run_state::free);
  const unsigned bin = bin_of(entry.length);
  bin_set& set = sets_[entry.dirty != 0];
  free_granules_ -= entry.length;
  if (entry.previous != no_granule)
    entries_[entry.previous].next = entry.next;
  else
    set.heads[bin] = entry.next;
  if (entry.next != no_granule)
    entries_[entry.next].previous = entry.previous;
  if (set.heads[bin] == no_granule)
    set.occupied[bin / 64] &= ~(std::uint64_t{1} << (bin % 64));
  if (entry.dirty == 0)
    return;
  (entry.older == no_granule ? oldest_ : entries_[entry.older].newer) = entry.newer;
  (entry.newer == no_granule ? newest_ : entries_[entry.newer].older) = entry.older;
}

bool run_allocator::find(const bin_set& set, std::uint32_t count, std::uint32_t alignment,
                         std::uint32_t& found) const {
  for (unsigned word = bin_of(count) / 64; word < bin_count / 64; ++word) {
    std::uint64_t bins = set.occupied[word];
    if (word == bin_of(count) / 64)
      bins &= ~low_bits(bin_of(count) % 64);
    for (; bins != 0; bins &= bins - 1) {
      const unsigned bin = word * 64 + static_cast<unsigned>(std::countr_zero(bins));
      std::uint32_t best = no_granule;
      unsigned looked_at = 0;
      for (std::uint32_t run = set.heads[bin]; run != no_granule && looked_at < scan_limit;
           run = entries_[run].next, ++looked_at) {
        const std::uint32_t length = entries_[run].length;
        if (first_aligned(run, alignment) + count > std::size_t{run} + length)
          continue;
        if (best == no_granule || length < entries_[best].length ||
            (length == entries_[best].length && run < best))
          best = run;
      }
      if (best != no_granule) {
        found = best;
        return true;
      }
    }
  }
  return false;
}

void run_allocator::carve(std::uint32_t first, span taken) {
  const run_entry run = entries_[first];
  METE_DEBUG_CHECK(taken.first >= first && taken.first + taken.count <= first + run.length);
  unlink(first);
  free_part front{{first, taken.first - first}, 0};
  free_part back{{taken.first + taken.count, first + run.length - (taken.first + taken.count)}, 0};
  if (run.dirty != 0) {
    // Only the smaller of the two is counted: the rest is known.
    const std::uint32_t left = run.dirty - count_dirty(taken);
    free_part& smaller = front.where.count < back.where.count ? front : back;
    free_part& larger = front.where.count < back.where.count ? back : front;
    smaller.dirty = left == 0 ? 0 : count_dirty(smaller.where);
    larger.dirty = left - smaller.dirty;
  }
  write_entries(taken, run_state::used, run_state::occupied);
  if (front.where.count != 0)
    link(front, run.freed_ms, run.older);
  if (back.where.count != 0)
    link(back, run.freed_ms, run.older);
}

void run_allocator::grant_from(std::uint32_t run, std::uint32_t count, std::uint32_t alignment,
                               run_grant& grant) {
  const span part{static_cast<std::uint32_t>(first_aligned(run, alignment)), count};
  carve(run, part);
  grant.first = part.first;
  grant.zeroed = clear_dirty(part) == 0;
}

bool run_allocator::take(span part) {
  carve(part.first, part);
  return clear_dirty(part) == 0;
}

std::uint32_t run_allocator::find_dirty(std::uint32_t count, std::uint32_t alignment) const {
  std::uint32_t found = no_granule;
  find(sets_[1], count, alignment, found);
  return found;
}

bool run_allocator::allocate_dirty(std::uint32_t count, std::uint32_t alignment, run_grant& grant) {
  const std::uint32_t found = find_dirty(count, alignment);
  if (found == no_granule)
    return false;
  grant_from(found, count, alignment, grant);
  return true;
}

bool run_allocator::allocate(std::uint32_t count, std::uint32_t alignment, run_grant& grant) {
  if (allocate_dirty(count, alignment, grant))
    return true;
  std::uint32_t found = no_granule;
  if (!find(sets_[0], count, alignment, found))
    return false;
  grant_from(found, count, alignment, grant);
  return true;
}

span run_allocator::release(span freed, std::uint32_t now_ms) {
  mark_dirty(freed);
  return coalesce({freed, freed.count}, now_ms);
}

span run_allocator::insert(span added, std::uint32_t now_ms) {
  return coalesce({added, count_dirty(added)}, now_ms);
}

span run_allocator::coalesce(free_part added_part, std::uint32_t now_ms) {
  const auto [added, added_dirty] = added_part;
  // Once coalesced these ends are inside a run.
  entries_[added.first].state = run_state::none;
  entries_[added.first + added.count - 1].state = run_state::none;
  free_part neighbours[2] = {{{added.first, 0}, 0}, {{added.first + added.count, 0}, 0}};
  if (added.first > 0 && entries_[added.first - 1].state == run_state::free) {
    neighbours[0].where.count = entries_[added.first - 1].length;
    neighbours[0].where.first -= neighbours[0].where.count;
  }
  const std::uint32_t after = neighbours[1].where.first;
  if (after < granules_ && entries_[after].state == run_state::free)
    neighbours[1].where.count = entries_[after].length;
  for (free_part& each : neighbours)
    if (each.where.count != 0)
      each.dirty = entries_[each.where.first].dirty;

  const unsigned major = neighbours[0].dirty < neighbours[1].dirty;
  const bool keeps_age = neighbours[major].dirty > added_dirty;
  // The other one first, so that what is older than the major one is still there afterwards.
  if (neighbours[1 - major].where.count != 0)
    unlink(neighbours[1 - major].where.first);
  const run_entry& kept = entries_[neighbours[major].where.first];
  const std::uint32_t freed_ms = keeps_age ? kept.freed_ms : now_ms;
  const std::uint32_t older = keeps_age ? kept.older : no_granule;
  if (neighbours[major].where.count != 0)
    unlink(neighbours[major].where.first);

  const span all{neighbours[0].where.first,
                 neighbours[0].where.count + added.count + neighbours[1].where.count};
  link({all, neighbours[0].dirty + added_dirty + neighbours[1].dirty}, freed_ms,
       keeps_age ? older : newest_);
  return all;
}

bool run_allocator::extend(std::uint32_t first, std::uint32_t count, std::uint32_t more,
                           bool& zeroed) {
  const std::uint32_t after = first + count;
  if (after >= granules_ || entries_[after].state != run_state::free ||
      entries_[after].length < more)
    return false;
  carve(after, {after, more});
  zeroed = clear_dirty({after, more}) == 0;
  entries_[after].state = run_state::none; // carve() took it for a run of its own
  write_entries({first, count + more}, run_state::used, run_state::occupied);
  return true;
}

void run_allocator::shrink(std::uint32_t first, std::uint32_t kept) {
  const std::uint32_t count = entries_[first].length;
  METE_DEBUG_CHECK(kept > 0 && kept < count);
  write_entries({first, kept}, run_state::used, run_state::occupied);
  write_entries({first + kept, count - kept}, run_state::used, run_state::occupied);
}

bool run_allocator::begin_purge(std::uint32_t now_ms, std::uint32_t wait_ms, std::uint32_t most,
                                span& taken) {
  if (oldest_ == no_granule || is_younger(entries_[oldest_].freed_ms, now_ms, wait_ms))
    return false;
  return begin_purge_any(most, taken);
}

bool run_allocator::begin_purge_any(std::uint32_t most, span& taken) {
  if (oldest_ == no_granule)
    return false;
  taken = dirty_stretch({oldest_, entries_[oldest_].length});
  // The end of it: what stays is then the beginning, where runs are handed out first.
  if (taken.count > most)
    taken = {taken.first + taken.count - most, most};
  carve(oldest_, taken);
  write_entries(taken, run_state::occupied, run_state::occupied);
  return true;
}

span run_allocator::finish_purge(span taken, bool purged, std::uint32_t now_ms) {
  if (purged)
    clear_dirty(taken);
  return insert(taken, now_ms);
}

span run_allocator::clean_around(span run, span part, std::uint32_t most) const {
  std::uint32_t first = part.first;
  std::uint32_t end = part.first + part.count;
  while (first > run.first && part.first - first < most && !is_dirty(first - 1))
    --first;
  while (end < run.first + run.count && end - (part.first + part.count) < most && !is_dirty(end))
    ++end;
  return {first, end - first};
}

span run_allocator::dirty_stretch(span run) const {
  std::uint32_t first = run.first;
  while (!is_dirty(first))
    first = dirty_bits_[first / 64] >> (first % 64) == 0 ? (first / 64 + 1) * 64 : first + 1;
  std::uint32_t last = run.first + run.count - 1;
  while (!is_dirty(last))
    last = dirty_bits_[last / 64] << (63 - last % 64) == 0 ? last / 64 * 64 - 1 : last - 1;
  return {first, last + 1 - first};
}

void run_allocator::split_into_granules(span part) {
  for (std::uint32_t at = part.first; at < part.first + part.count; ++at)
    write_entries({at, 1}, run_state::occupied, run_state::occupied);
}

void run_allocator::forget(span part, std::uint32_t step) {
  for (std::uint32_t at = part.first; at < part.first + part.count; at += step) {
    entries_[at].state = run_state::none;
    entries_[at + step - 1].state = run_state::none;
  }
}

void run_allocator::check_invariants(std::uint32_t begin, std::uint32_t end) const {
  bool previous_free = false;
  for (std::uint32_t at = begin; at < end;) {
    const run_entry& entry = entries_[at];
    METE_CHECK(entry.state != run_state::none && entry.length > 0 && at + entry.length <= end);
    METE_CHECK(entries_[at + entry.length - 1].length == entry.length);
    const bool is_free = entry.state == run_state::free;
    METE_CHECK(is_free == (entries_[at + entry.length - 1].state == run_state::free));
    METE_CHECK(!is_free || entry.dirty == count_dirty({at, entry.length}));
    for (std::uint32_t inside = at + 1; inside < at + entry.length; ++inside)
      METE_CHECK(entries_[inside].state != run_state::used);
    METE_CHECK(!(is_free && previous_free));
    previous_free = is_free;
    at += entry.length;
  }
}

} // namespace mete::page
