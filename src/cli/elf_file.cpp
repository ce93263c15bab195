// Reading ELF files, with every offset taken for a lie until checked. See elf_file.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/elf_file.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mete::cli {
namespace {

// The parts of a file by offset; whatever does not lie inside it is absent.
class byte_reader {
public:
  explicit byte_reader(std::span<const std::byte> bytes) : m_bytes(bytes) {}

  bool holds(std::uint64_t offset, std::uint64_t size) const {
    return offset <= m_bytes.size() && size <= m_bytes.size() - offset;
  }

  template <typename T>
  std::optional<T> read(std::uint64_t offset) const {
    if (!holds(offset, sizeof(T)))
      return std::nullopt;
    T value;
    std::memcpy(&value, m_bytes.data() + offset, sizeof(T));
    return value;
  }

  // The table at [offset, offset + size), cut where the file ends.
  std::span<const std::byte> part(std::uint64_t offset, std::uint64_t size) const {
    if (offset > m_bytes.size())
      return {};
    return m_bytes.subspan(offset, std::min<std::uint64_t>(size, m_bytes.size() - offset));
  }

private:
  std::span<const std::byte> m_bytes;
};

// The string that starts at `index`; empty when no end is in sight.
std::string_view string_at(std::span<const std::byte> table, std::uint64_t index) {
  if (index >= table.size())
    return {};
  const auto* start = reinterpret_cast<const char*>(table.data()) + index;
  const std::size_t room = table.size() - index;
  const std::size_t length = strnlen(start, room);
  return length < room ? std::string_view(start, length) : std::string_view();
}

struct layout_32 {
  using header = Elf32_Ehdr;
  using segment = Elf32_Phdr;
  using section = Elf32_Shdr;
  using dynamic_entry = Elf32_Dyn;
  using symbol = Elf32_Sym;
};

struct layout_64 {
  using header = Elf64_Ehdr;
  using segment = Elf64_Phdr;
  using section = Elf64_Shdr;
  using dynamic_entry = Elf64_Dyn;
  using symbol = Elf64_Sym;
};

template <typename Layout>
class elf_reader {
public:
  explicit elf_reader(std::span<const std::byte> bytes)
      : m_reader(bytes), m_header(*m_reader.read<typename Layout::header>(0)) {
    read_segments();
  }

  void describe(elf_file& file) const;
  void visit(symbol_table table,
             const std::function<void(std::string_view, symbol_use)>& visitor) const;

private:
  using segment = typename Layout::segment;
  using section = typename Layout::section;
  using dynamic_entry = typename Layout::dynamic_entry;
  using symbol = typename Layout::symbol;

  void read_segments() {
    if (m_header.e_phentsize != sizeof(segment))
      return;
    for (std::uint64_t i = 0; i < m_header.e_phnum; ++i)
      if (const auto found = m_reader.read<segment>(m_header.e_phoff + i * sizeof(segment)))
        m_segments.push_back(*found);
  }

  std::optional<section> section_at(std::uint64_t index) const {
    if (m_header.e_shentsize != sizeof(section) || index >= m_header.e_shnum)
      return std::nullopt;
    return m_reader.read<section>(m_header.e_shoff + index * sizeof(section));
  }

  const segment* segment_of_type(std::uint32_t type) const {
    for (const segment& each : m_segments)
      if (each.p_type == type)
        return &each;
    return nullptr;
  }

  // The rest of the loaded segment that holds `address`, as it lies in the file.
  std::span<const std::byte> at_address(std::uint64_t address) const {
    for (const segment& each : m_segments) {
      const bool inside = each.p_type == PT_LOAD && address >= each.p_vaddr &&
                          address - each.p_vaddr < each.p_filesz;
      if (inside) {
        const std::uint64_t skipped = address - each.p_vaddr;
        const std::uint64_t offset = std::uint64_t{each.p_offset} + skipped;
        if (offset >= skipped) // else it wrapped around
          return m_reader.part(offset, each.p_filesz - skipped);
      }
    }
    return {};
  }

  void describe_dynamic(const segment& table, elf_file& file) const;

  byte_reader m_reader;
  typename Layout::header m_header;
  std::vector<segment> m_segments;
};

template <typename Layout>
void elf_reader<Layout>::describe(elf_file& file) const {
  if (const segment* interpreter = segment_of_type(PT_INTERP))
    file.interpreter = string_at(m_reader.part(interpreter->p_offset, interpreter->p_filesz), 0);
  if (const segment* table = segment_of_type(PT_DYNAMIC)) {
    file.dynamic = true;
    describe_dynamic(*table, file);
  }
}

template <typename Layout>
void elf_reader<Layout>::describe_dynamic(const segment& table, elf_file& file) const {
  const byte_reader entries(m_reader.part(table.p_offset, table.p_filesz));
  std::vector<std::uint64_t> needed;
  std::optional<std::uint64_t> name;
  std::uint64_t strings_address = 0;
  for (std::uint64_t offset = 0;; offset += sizeof(dynamic_entry)) {
    const auto entry = entries.read<dynamic_entry>(offset);
    if (!entry || entry->d_tag == DT_NULL)
      break;
    if (entry->d_tag == DT_NEEDED)
      needed.push_back(entry->d_un.d_val);
    else if (entry->d_tag == DT_SONAME)
      name = entry->d_un.d_val;
    else if (entry->d_tag == DT_STRTAB)
      strings_address = entry->d_un.d_ptr;
  }
  const auto strings = at_address(strings_address);
  for (const std::uint64_t index : needed)
    if (const auto text = string_at(strings, index); !text.empty())
      file.needed.emplace_back(text);
  if (name)
    file.shared_object_name = string_at(strings, *name);
}

template <typename Layout>
void elf_reader<Layout>::visit(
    symbol_table table, const std::function<void(std::string_view, symbol_use)>& visitor) const {
  const std::uint32_t wanted = table == symbol_table::dynamic ? SHT_DYNSYM : SHT_SYMTAB;
  for (std::uint64_t i = 0; i < m_header.e_shnum; ++i) {
    const auto found = section_at(i);
    if (!found || found->sh_type != wanted)
      continue;
    const auto names = section_at(found->sh_link);
    if (!names || names->sh_type != SHT_STRTAB)
      continue;
    const auto strings = m_reader.part(names->sh_offset, names->sh_size);
    const byte_reader symbols(m_reader.part(found->sh_offset, found->sh_size));
    for (std::uint64_t offset = 0;; offset += sizeof(symbol)) {
      const auto entry = symbols.read<symbol>(offset);
      if (!entry)
        break;
      // Binding has the same place in both classes.
      const unsigned binding = ELF64_ST_BIND(entry->st_info);
      if (binding == STB_LOCAL && table != symbol_table::full_with_local)
        continue;
      const auto name = string_at(strings, entry->st_name);
      if (name.empty())
        continue;
      visitor(name, entry->st_shndx != SHN_UNDEF ? symbol_use::defined
                    : binding == STB_WEAK        ? symbol_use::weakly_referenced
                                                 : symbol_use::required);
    }
    return; // a file has at most one table of each type; more would be there to keep us busy
  }
}

struct header_start {
  unsigned char ident[EI_NIDENT];
  std::uint16_t type; // in the byte order of the file
  std::uint16_t machine;
};

// Nothing when this is no ELF file, or its header is not whole.
std::optional<header_start> read_header_start(std::span<const std::byte> bytes) {
  const byte_reader reader(bytes);
  auto start = reader.read<header_start>(0);
  if (!start || std::memcmp(start->ident, ELFMAG, SELFMAG) != 0)
    return std::nullopt;
  const unsigned char bits = start->ident[EI_CLASS];
  const unsigned char order = start->ident[EI_DATA];
  if ((bits != ELFCLASS32 && bits != ELFCLASS64) || (order != ELFDATA2LSB && order != ELFDATA2MSB))
    return std::nullopt;
  if (!reader.holds(0, bits == ELFCLASS64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
    return std::nullopt;
  return start;
}

bool in_native_order(const header_start& start) {
  const bool little = start.ident[EI_DATA] == ELFDATA2LSB;
  return little == (std::endian::native == std::endian::little);
}

std::uint16_t in_native_order(const header_start& start, std::uint16_t value) {
  return in_native_order(start) ? value : __builtin_bswap16(value);
}

} // namespace

std::string elf_identity::name() const {
  switch (machine) {
  case EM_X86_64:
    return bits == 64 ? "x86-64" : "x32";
  case EM_386:
    return "32-bit x86";
  case EM_AARCH64:
    return "arm64";
  case EM_ARM:
    return "32-bit arm";
  case EM_RISCV:
    return bits == 64 ? "64-bit RISC-V" : "32-bit RISC-V";
  case EM_PPC64:
    return little_endian ? "little-endian POWER" : "big-endian POWER";
  case EM_S390:
    return "s390x";
  default:
    return "ELF machine " + std::to_string(machine);
  }
}

bool elf_file::is_program_or_library() const {
  return type == ET_EXEC || type == ET_DYN;
}

std::optional<elf_file> read_elf(std::span<const std::byte> bytes) {
  const auto start = read_header_start(bytes);
  if (!start)
    return std::nullopt;
  elf_file file;
  file.identity.bits = start->ident[EI_CLASS] == ELFCLASS64 ? 64 : 32;
  file.identity.little_endian = start->ident[EI_DATA] == ELFDATA2LSB;
  file.identity.machine = in_native_order(*start, start->machine);
  file.type = in_native_order(*start, start->type);
  file.readable = in_native_order(*start);
  if (file.readable && file.identity.bits == 64)
    elf_reader<layout_64>(bytes).describe(file);
  else if (file.readable)
    elf_reader<layout_32>(bytes).describe(file);
  return file;
}

void visit_symbols(std::span<const std::byte> bytes, symbol_table table,
                   const std::function<void(std::string_view, symbol_use)>& visit) {
  const auto start = read_header_start(bytes);
  if (!start || !in_native_order(*start))
    return;
  if (start->ident[EI_CLASS] == ELFCLASS64)
    elf_reader<layout_64>(bytes).visit(table, visit);
  else
    elf_reader<layout_32>(bytes).visit(table, visit);
}

mapped_file::mapped_file(const std::string& path) {
  // O_NONBLOCK: a pipe that somebody named as a program must not hold us up.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    m_error = errno;
  } else if (!S_ISREG(status.st_mode)) {
    m_error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  } else if (status.st_size > 0) { // an empty file cannot be mapped, and is just empty
    const auto size = static_cast<std::size_t>(status.st_size);
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (start == MAP_FAILED) {
      m_error = errno;
    } else {
      m_start = static_cast<const std::byte*>(start);
      m_size = size;
    }
  }
  if (descriptor >= 0)
    ::close(descriptor);
}

mapped_file::~mapped_file() {
  if (m_start)
    ::munmap(const_cast<std::byte*>(m_start), m_size);
}

} // namespace mete::cli
