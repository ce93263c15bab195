// A reader for the few facts of an ELF file that decide whether a preloaded library takes effect.
//
// It looks at bytes that anybody may have written, so every read is checked against the end of the
// file and nothing is followed by pointer: a field that points outside is as good as absent. It
// reads both classes (32 and 64 bits) and, of files in the other byte order, the identity only.
// Segments, not sections, lead to the dynamic table, because sections may be stripped; the symbol
// tables are found by sections only, as no other record states their length.
//
// It is no general ELF library, and it never maps or runs what it reads.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mete::cli {

// What the kernel and the loader compare first.
struct elf_identity {
  int bits = 0; // 32 or 64
  bool little_endian = true;
  std::uint16_t machine = 0; // EM_*

  bool operator==(const elf_identity&) const = default;

  // As people say it: "x86-64", "32-bit x86", "arm64".
  std::string name() const;
};

struct elf_file {
  elf_identity identity;
  std::uint16_t type = 0;          // ET_*
  bool readable = false;           // in this machine's byte order; else all below is empty
  bool dynamic = false;            // has a dynamic table
  std::string interpreter;         // PT_INTERP: the loader; empty when there is none
  std::string shared_object_name;  // DT_SONAME
  std::vector<std::string> needed; // DT_NEEDED, in order

  bool is_program_or_library() const;
};

// Nothing when `bytes` do not begin with an ELF header that is whole.
std::optional<elf_file> read_elf(std::span<const std::byte> bytes);

// The linker makes names local that a program or library keeps to itself: the full table has them.
enum class symbol_table { dynamic, full, full_with_local };
enum class symbol_use { required, weakly_referenced, defined };

// Calls `visit` for every named symbol of one table, global ones only where it does not say
// otherwise. O(symbols).
void visit_symbols(std::span<const std::byte> bytes, symbol_table table,
                   const std::function<void(std::string_view name, symbol_use use)>& visit);

// A whole file, mapped for reading as long as this object lives.
class mapped_file {
public:
  // The object is empty, with `error()` an errno value, when the file cannot be mapped.
  explicit mapped_file(const std::string& path);
  ~mapped_file();
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;

  std::span<const std::byte> bytes() const { return {m_start, m_size}; }
  int error() const { return m_error; }

private:
  const std::byte* m_start = nullptr;
  std::size_t m_size = 0;
  int m_error = 0;
};

} // namespace mete::cli
