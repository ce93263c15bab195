// The ELF reader: what it says of good files, and that no bad one brings it down.
//
// Damaged files are copied to memory that ends at an inaccessible page, so that a read of a single
// byte too many is a crash and not luck.
//
// SPDX-License-Identifier: MIT
#include "cli/elf_file.hpp"

#include "cli/elf_image_for_test.hpp"

#include <algorithm>
#include <cerrno>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

elf_image_for_test example() {
  elf_image_for_test image;
  image.shared_object_name = "libexample.so.1";
  image.needed = {"libfirst.so", "libsecond.so"};
  image.dynamic_symbols = {
      {"malloc", STB_GLOBAL, false}, {"maybe", STB_WEAK, false}, {"mine", STB_GLOBAL, true}};
  image.full_symbols = {{"__asan_init", STB_GLOBAL, true}, {"hidden", STB_LOCAL, true}};
  return image;
}

std::map<std::string, symbol_use> symbols_in(std::span<const std::byte> bytes, symbol_table table) {
  std::map<std::string, symbol_use> found;
  visit_symbols(bytes, table,
                [&](std::string_view name, symbol_use use) { found[std::string(name)] = use; });
  return found;
}

void expect_example(std::span<const std::byte> bytes) {
  const auto file = read_elf(bytes);
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->is_program_or_library());
  EXPECT_TRUE(file->readable);
  EXPECT_TRUE(file->dynamic);
  EXPECT_EQ(file->interpreter, "/lib64/ld-linux-x86-64.so.2");
  EXPECT_EQ(file->shared_object_name, "libexample.so.1");
  EXPECT_EQ(file->needed, (words{"libfirst.so", "libsecond.so"}));
  EXPECT_EQ(symbols_in(bytes, symbol_table::dynamic),
            (std::map<std::string, symbol_use>{{"malloc", symbol_use::required},
                                               {"maybe", symbol_use::weakly_referenced},
                                               {"mine", symbol_use::defined}}));
  EXPECT_EQ(symbols_in(bytes, symbol_table::full),
            (std::map<std::string, symbol_use>{{"__asan_init", symbol_use::defined}}));
  EXPECT_EQ(symbols_in(bytes, symbol_table::full_with_local),
            (std::map<std::string, symbol_use>{{"__asan_init", symbol_use::defined},
                                               {"hidden", symbol_use::defined}}));
}

TEST(read_elf, facts_of_a_64_bit_file) {
  const auto bytes = example().build_64();
  expect_example(bytes);
  EXPECT_EQ(read_elf(bytes)->identity, (elf_identity{64, true, EM_X86_64}));
  EXPECT_EQ(read_elf(bytes)->identity.name(), "x86-64");
}

TEST(read_elf, facts_of_a_32_bit_file) {
  auto image = example();
  image.machine = EM_386;
  const auto bytes = image.build_32();
  expect_example(bytes);
  EXPECT_EQ(read_elf(bytes)->identity, (elf_identity{32, true, EM_386}));
  EXPECT_EQ(read_elf(bytes)->identity.name(), "32-bit x86");
}

TEST(read_elf, identity_alone_in_the_other_byte_order) {
  auto bytes = example().build_64();
  bytes[EI_DATA] = std::byte{ELFDATA2MSB};
  bytes[16] = std::byte{0}, bytes[17] = std::byte{ET_EXEC};
  bytes[18] = std::byte{0}, bytes[19] = std::byte{EM_S390};
  const auto file = read_elf(bytes);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->identity, (elf_identity{64, false, EM_S390}));
  EXPECT_EQ(file->type, ET_EXEC);
  EXPECT_FALSE(file->readable);
  EXPECT_TRUE(file->needed.empty());
  EXPECT_TRUE(symbols_in(bytes, symbol_table::dynamic).empty());
}

TEST(read_elf, file_without_interpreter_or_names) {
  elf_image_for_test image;
  image.interpreter.clear();
  const auto file = read_elf(image.build_64());
  ASSERT_TRUE(file);
  EXPECT_EQ(file->interpreter, "");
  EXPECT_EQ(file->shared_object_name, "");
}

TEST(read_elf, what_is_no_elf_file) {
  const std::string text = "#!/bin/sh\necho a text that is longer than an ELF header would be\n";
  EXPECT_FALSE(read_elf({}));
  EXPECT_FALSE(read_elf(std::as_bytes(std::span(text))));
  auto bytes = example().build_64();
  bytes[EI_CLASS] = std::byte{3};
  EXPECT_FALSE(read_elf(bytes));
  bytes[EI_CLASS] = std::byte{ELFCLASS64};
  bytes[EI_DATA] = std::byte{0};
  EXPECT_FALSE(read_elf(bytes));
}

TEST(read_elf, this_test_program) {
  const mapped_file self("/proc/self/exe");
  ASSERT_EQ(self.error(), 0);
  const auto file = read_elf(self.bytes());
  ASSERT_TRUE(file);
  EXPECT_NE(file->interpreter.find("/ld-"), std::string::npos);
  EXPECT_NE(std::find(file->needed.begin(), file->needed.end(), "libc.so.6"), file->needed.end());
  EXPECT_TRUE(symbols_in(self.bytes(), symbol_table::dynamic).contains("__libc_start_main"));
}

TEST(mapped_file, says_why_there_are_no_bytes) {
  EXPECT_EQ(mapped_file("/no/such/file").error(), ENOENT);
  EXPECT_EQ(mapped_file("/").error(), EISDIR);
  EXPECT_EQ(mapped_file("/dev/null").error(), EINVAL);
  EXPECT_TRUE(mapped_file("/dev/null").bytes().empty());
}

// Bytes whose end is the end of what may be read.
class guarded_bytes {
public:
  explicit guarded_bytes(std::span<const std::byte> bytes) : m_size(bytes.size()) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    m_readable = (m_size + page - 1) / page * page;
    m_mapped = m_readable + page;
    m_map = static_cast<std::byte*>(
        ::mmap(nullptr, m_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (m_map == MAP_FAILED || ::mprotect(m_map + m_readable, page, PROT_NONE) != 0)
      throw std::bad_alloc();
    if (m_size != 0)
      std::memcpy(start(), bytes.data(), m_size);
  }
  ~guarded_bytes() { ::munmap(m_map, m_mapped); }
  guarded_bytes(const guarded_bytes&) = delete;
  guarded_bytes& operator=(const guarded_bytes&) = delete;

  std::byte* start() { return m_map + m_readable - m_size; }
  std::span<const std::byte> bytes() { return {start(), m_size}; }

private:
  std::byte* m_map;
  std::size_t m_size;
  std::size_t m_readable;
  std::size_t m_mapped;
};

// Returns something that depends on all that was read, lest it be optimised away.
std::size_t read_everything(std::span<const std::byte> bytes) {
  std::size_t seen = 0;
  if (const auto file = read_elf(bytes)) {
    seen += file->interpreter.size() + file->shared_object_name.size() + file->needed.size();
    seen += file->identity.name().size();
  }
  for (const symbol_table table : {symbol_table::dynamic, symbol_table::full})
    visit_symbols(bytes, table, [&](std::string_view name, symbol_use) { seen += name.size(); });
  return seen;
}

// Of a file that was cut off, each string is there as a whole or not at all.
void expect_part_of_example(std::span<const std::byte> bytes) {
  const words known{"malloc", "maybe", "mine", "__asan_init"};
  for (const symbol_table table : {symbol_table::dynamic, symbol_table::full})
    for (const auto& [name, use] : symbols_in(bytes, table))
      EXPECT_NE(std::find(known.begin(), known.end(), name), known.end()) << name;
  const auto file = read_elf(bytes);
  for (const std::string& name : file ? file->needed : words())
    EXPECT_TRUE(name == "libfirst.so" || name == "libsecond.so") << name;
  if (file && !file->interpreter.empty()) {
    EXPECT_EQ(file->interpreter, example().interpreter);
  }
}

TEST(damaged_elf, cut_off_at_every_length) {
  for (const auto& whole : {example().build_64(), example().build_32()}) {
    std::size_t seen = 0;
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      guarded_bytes part({whole.data(), size});
      seen += read_everything(part.bytes());
      expect_part_of_example(part.bytes());
    }
    EXPECT_GT(seen, 0u);
  }
}

TEST(damaged_elf, every_aligned_field_set_to_extremes) {
  for (const auto& whole : {example().build_64(), example().build_32()}) {
    guarded_bytes damaged(whole);
    for (std::size_t width : {2u, 4u, 8u})
      for (std::size_t at = 0; at + width <= whole.size(); at += width)
        for (const int value : {0x00, 0x7f, 0x80, 0xff}) {
          std::memset(damaged.start() + at, value, width);
          read_everything(damaged.bytes());
          std::memcpy(damaged.start() + at, whole.data() + at, width);
        }
    expect_example(damaged.bytes());
  }
}

TEST(damaged_elf, random_bytes_changed) {
  std::mt19937_64 random(4711);
  for (const auto& whole : {example().build_64(), example().build_32()}) {
    guarded_bytes damaged(whole);
    for (int round = 0; round < 20000; ++round) {
      std::memcpy(damaged.start(), whole.data(), whole.size());
      for (int change = 0; change < 8; ++change)
        damaged.start()[random() % whole.size()] = static_cast<std::byte>(random());
      read_everything(damaged.bytes());
    }
  }
}

} // namespace
} // namespace mete::cli
