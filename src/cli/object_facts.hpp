// What a program or library has to do with allocation, told from its symbol tables.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "cli/elf_file.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mete::cli {

// A block of one allocator ends in another when these come from different ones. The rest may: what
// pvalloc gives is rarely freed, and reallocarray calls realloc.
inline constexpr std::array<std::string_view, 9> must_agree{
    "malloc",        "free",     "calloc", "realloc",           "posix_memalign",
    "aligned_alloc", "memalign", "valloc", "malloc_usable_size"};

// A function of an allocator's own interface, such as mallocx or mi_malloc.
struct own_function {
  std::string allocator;
  std::string symbol;
};

struct object_facts {
  std::string path;   // as the process sees it
  bool known = false; // it could be read and is an ELF file; else all below is empty
  elf_file elf;
  std::vector<std::string> functions; // malloc and its kin that it has to offer to all, by name
  std::vector<own_function> defined;  // the first of each allocator: that allocator is inside
  std::vector<own_function> called;   // the first of each: it needs that allocator, not just one
  bool calls_malloc = false;          // malloc or its kin, of others
  bool cxx_library_inside = false;    // linked in: then operator new may be that library's
  std::string sanitizer;              // as -fsanitize= names it
  std::string c_library_version;      // of glibc

  bool is_static() const { return known && elf.interpreter.empty(); } // REQUIRES: a program
};

// `program`: it is the file that was executed; a static one offers its functions to itself only.
object_facts look_at_object(std::span<const std::byte> bytes, const std::string& path,
                            bool program);

// The same of a file, which is read at `readable`.
object_facts read_object(const std::string& readable, const std::string& path, bool program);

// Whether a name is that of a form of operator new or delete that a program may replace. (Those
// with other parameters, and those of a class, are no business of an allocator.)
bool is_new_or_delete(std::string_view symbol);

// The allocator that an object is, or has inside: "mete", "glibc", "jemalloc"; empty if unknown.
std::string allocator_name(const object_facts& object);

// Its file name without folder.
std::string_view file_name(std::string_view path);

} // namespace mete::cli
