// Builds small ELF files in memory: just what the reader reads, with every field at hand to break.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <string>
#include <vector>

namespace mete::cli {

struct test_symbol {
  std::string name;
  unsigned char binding = STB_GLOBAL;
  bool defined = true;
};

struct elf_image_for_test {
  std::uint16_t type = ET_DYN;
  std::uint16_t machine = EM_X86_64;
  std::string interpreter = "/lib64/ld-linux-x86-64.so.2";
  std::string shared_object_name;
  std::vector<std::string> needed;
  std::vector<test_symbol> dynamic_symbols;
  std::vector<test_symbol> full_symbols;

  std::vector<std::byte> build_64() const {
    return build<Elf64_Ehdr, Elf64_Phdr, Elf64_Shdr, Elf64_Dyn, Elf64_Sym>(ELFCLASS64);
  }
  std::vector<std::byte> build_32() const {
    return build<Elf32_Ehdr, Elf32_Phdr, Elf32_Shdr, Elf32_Dyn, Elf32_Sym>(ELFCLASS32);
  }

private:
  // The address of a byte is its offset plus this, so that a mix-up of the two is seen.
  static constexpr std::uint32_t load_address = 0x400000;

  class bytes_builder {
  public:
    template <typename T>
    std::size_t append(const T& value) {
      return append(&value, sizeof value);
    }
    std::size_t append(const void* start, std::size_t size) {
      const std::size_t offset = bytes_.size();
      bytes_.resize(offset + size);
      std::memcpy(bytes_.data() + offset, start, size);
      return offset;
    }
    void replace(std::size_t offset, const void* start, std::size_t size) {
      std::memcpy(bytes_.data() + offset, start, size);
    }
    std::size_t size() const { return bytes_.size(); }
    std::vector<std::byte> take() { return std::move(bytes_); }

  private:
    std::vector<std::byte> bytes_;
  };

  struct string_table {
    std::string text = std::string(1, '\0');
    std::uint32_t add(const std::string& name) {
      const auto index = static_cast<std::uint32_t>(text.size());
      text += name;
      text += '\0';
      return index;
    }
  };

  template <typename Symbol>
  static std::size_t append_symbols(bytes_builder& file, string_table& strings,
                                    const std::vector<test_symbol>& symbols) {
    const std::size_t offset = file.append(Symbol{});
    for (const test_symbol& each : symbols) {
      Symbol symbol{};
      symbol.st_name = strings.add(each.name);
      symbol.st_info = static_cast<unsigned char>(ELF64_ST_INFO(each.binding, STT_FUNC));
      symbol.st_shndx = each.defined ? 1 : SHN_UNDEF;
      file.append(symbol);
    }
    return offset;
  }

  template <typename Header, typename Segment, typename Section, typename Dynamic, typename Symbol>
  std::vector<std::byte> build(unsigned char elf_class) const {
    // Headers and tables first, strings last: a file cut off anywhere still leads to the cut.
    bytes_builder file;
    string_table strings;
    Header header{};
    file.append(header);
    std::vector<Segment> segments(interpreter.empty() ? 2 : 3);
    const std::size_t segments_size = segments.size() * sizeof(Segment);
    const std::size_t segments_at = file.append(segments.data(), segments_size);
    std::vector<Section> sections(4);
    const std::size_t sections_size = sections.size() * sizeof(Section);
    const std::size_t sections_at = file.append(sections.data(), sections_size);

    const std::size_t dynamic_symbols_at = append_symbols<Symbol>(file, strings, dynamic_symbols);
    const std::size_t full_symbols_at = append_symbols<Symbol>(file, strings, full_symbols);

    std::vector<Dynamic> entries;
    const auto add_entry = [&](auto tag, std::size_t value) {
      Dynamic entry{};
      entry.d_tag = tag;
      entry.d_un.d_val = static_cast<decltype(entry.d_un.d_val)>(value);
      entries.push_back(entry);
    };
    for (const std::string& name : needed)
      add_entry(DT_NEEDED, strings.add(name));
    if (!shared_object_name.empty())
      add_entry(DT_SONAME, strings.add(shared_object_name));
    const std::size_t entries_at = file.size();
    const std::size_t entries_size = (entries.size() + 2) * sizeof(Dynamic);
    const std::size_t interpreter_at = entries_at + entries_size;
    const std::size_t strings_at = interpreter_at + interpreter.size() + 1;
    add_entry(DT_STRTAB, strings_at + load_address);
    add_entry(DT_NULL, 0);
    file.append(entries.data(), entries_size);
    file.append(interpreter.c_str(), interpreter.size() + 1);
    file.append(strings.text.data(), strings.text.size());

    const auto set_section = [&](std::size_t index, std::uint32_t section_type, std::size_t offset,
                                 std::size_t size) {
      sections[index].sh_type = section_type;
      sections[index].sh_offset = static_cast<decltype(sections[index].sh_offset)>(offset);
      sections[index].sh_size = static_cast<decltype(sections[index].sh_size)>(size);
      sections[index].sh_link = 3;
    };
    set_section(1, SHT_DYNSYM, dynamic_symbols_at, (dynamic_symbols.size() + 1) * sizeof(Symbol));
    set_section(2, SHT_SYMTAB, full_symbols_at, (full_symbols.size() + 1) * sizeof(Symbol));
    set_section(3, SHT_STRTAB, strings_at, strings.text.size());
    file.replace(sections_at, sections.data(), sections_size);

    const auto set_segment = [&](std::size_t index, std::uint32_t segment_type, std::size_t offset,
                                 std::size_t size) {
      Segment& segment = segments[index];
      segment.p_type = segment_type;
      segment.p_offset = static_cast<decltype(segment.p_offset)>(offset);
      segment.p_vaddr = static_cast<decltype(segment.p_vaddr)>(offset + load_address);
      segment.p_filesz = static_cast<decltype(segment.p_filesz)>(size);
    };
    set_segment(0, PT_LOAD, 0, file.size());
    set_segment(1, PT_DYNAMIC, entries_at, entries_size);
    if (!interpreter.empty())
      set_segment(2, PT_INTERP, interpreter_at, interpreter.size() + 1);
    file.replace(segments_at, segments.data(), segments_size);

    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = type;
    header.e_machine = machine;
    header.e_phoff = static_cast<decltype(header.e_phoff)>(segments_at);
    header.e_phentsize = sizeof(Segment);
    header.e_phnum = static_cast<std::uint16_t>(segments.size());
    header.e_shoff = static_cast<decltype(header.e_shoff)>(sections_at);
    header.e_shentsize = sizeof(Section);
    header.e_shnum = static_cast<std::uint16_t>(sections.size());
    file.replace(0, &header, sizeof header);
    return file.take();
  }
};

} // namespace mete::cli
