// SPDX-License-Identifier: MIT
#include "front/inline_round.hpp"

#include "front/background.hpp"
#include "front/falling_slabs.hpp"
#include "front/maintenance.hpp"
#include "heap/registry.hpp"
#include "page/region.hpp"

namespace mete::front {

constinit std::atomic<bool> inline_round_under_way{false};

namespace {

// What one slow path does. A settling round may be done by the last calls that come: in larger
// parts.
constexpr heap::sweep_limits piece{.slabs = 64, .stretches = 24, .pages = 256};
constexpr unsigned settling_pieces = 3;
constexpr std::size_t purge_piece_bytes = 256 * KiB;

constinit unsigned next_heap = 0; // maintenance lock
constinit std::atomic<bool> settling{false};

// Nothing has happened in the heap since the last settling round.
bool is_settled(heap::heap& h) {
  const std::uint32_t operations = h.operations.load(std::memory_order_relaxed);
  if (operations == h.operations_settled && !h.has_pending())
    return true;
  h.operations_settled = operations;
  return false;
}

// A piece of the work on a heap; true if it is not the last.
bool visit(heap::heap& h, bool settle) {
  if (!h.decay_sweep.under_way() && (settle ? is_settled(h) : is_quiet(h)))
    return false;
  std::size_t purged = 0;
  const bool more = decay_heap_piece(h, settle, piece, purged);
  note_purged(purged);
  return more;
}

// True if there is more to do. REQUIRES: the maintenance lock.
bool do_piece(bool settle) {
  for (; next_heap < heap::heap_count(); ++next_heap)
    if (heap::heap* const h = heap::heap_at(next_heap); h != nullptr && visit(*h, settle))
      return true;
  return page::purge_runs_idle_for(decay_ms(), purge_piece_bytes) != 0;
}

bool is_time_for_a_round(std::uint32_t now_ms) {
  static constinit std::atomic<std::uint32_t> last_round_ms{0};
  if (now_ms - last_round_ms.load(std::memory_order_relaxed) < round_interval_ms())
    return false;
  last_round_ms.store(now_ms, std::memory_order_relaxed);
  return true;
}

// A settling round is begun while another is under way, which goes by time; not the other way
// round.
void begin_if_due(std::uint32_t now_ms) {
  const bool under_way = inline_round_under_way.load(std::memory_order_relaxed);
  const bool shrunk =
      !(under_way && settling.load(std::memory_order_relaxed)) && slabs_have_shrunk();
  if (!shrunk &&
      (under_way || !much_is_unused() || ensure_background() || !is_time_for_a_round(now_ms)))
    return;
  maintenance_turn turn;
  if (!turn)
    return;
  next_heap = 0;
  settling.store(shrunk, std::memory_order_relaxed);
  inline_round_under_way.store(true, std::memory_order_relaxed);
}

} // namespace

void continue_inline_round(std::uint32_t now_ms) {
  begin_if_due(now_ms);
  if (!inline_round_under_way.load(std::memory_order_relaxed))
    return;
  maintenance_turn turn;
  if (!turn)
    return;
  const bool settle = settling.load(std::memory_order_relaxed);
  bool more = true;
  for (unsigned pieces = settle ? settling_pieces : 1; more && pieces != 0; --pieces)
    more = do_piece(settle);
  inline_round_under_way.store(more, std::memory_order_relaxed);
}

} // namespace mete::front
