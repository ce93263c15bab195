// Finding the provider of malloc. See active_allocator.hpp.
//
// SPDX-License-Identifier: MIT
#include "cli/active_allocator.hpp"

#include "cli/candidate.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;
using std::string_view;

// Up to ".so", so that an upgraded library keeps its name.
std::string stem_of(string_view path) {
  const std::size_t end = path.find(".so", path.rfind('/') + 1);
  return std::string(path.substr(0, end));
}

bool is_loader(const object_facts& object) {
  return object.elf.shared_object_name.starts_with("ld");
}

bool answers_to(const object_facts& object, const std::string& needed) {
  return object.elf.shared_object_name == needed || file_name(object.path) == file_name(needed);
}

// Objects in the order in which they are found from the first ones on.
class search_list {
public:
  explicit search_list(const std::vector<placed_object>& objects)
      : m_objects(objects), m_taken(objects.size(), false) {}

  void take(std::size_t index) {
    if (!m_taken[index])
      m_order.push_back(index);
    m_taken[index] = true;
  }

  void take_what_they_link() {
    for (std::size_t at = 0; at < m_order.size(); ++at)
      for (const std::string& needed : m_objects[m_order[at]].facts.elf.needed)
        for (std::size_t index = 0; index < m_objects.size(); ++index)
          if (answers_to(m_objects[index].facts, needed))
            take(index);
  }

  bool has(std::size_t index) const { return m_taken[index]; }
  const std::vector<std::size_t>& order() const { return m_order; }

private:
  const std::vector<placed_object>& m_objects;
  std::vector<bool> m_taken;
  std::vector<std::size_t> m_order;
};

std::vector<std::size_t> guess_preloaded(const std::vector<placed_object>& objects) {
  search_list linked(objects);
  linked.take(0);
  linked.take_what_they_link();
  std::uint64_t highest = 0;
  for (const std::size_t index : linked.order())
    if (index != 0 && !is_loader(objects[index].facts))
      highest = std::max(highest, objects[index].start);
  std::vector<std::size_t> preloaded;
  for (std::size_t index = objects.size(); index-- > 1;)
    if (!linked.has(index) && !is_loader(objects[index].facts) && highest != 0 &&
        objects[index].start > highest)
      preloaded.push_back(index);
  return preloaded;
}

// "0.1.0" of libmete.so.0.1.0, however many links lead there.
std::string version_in_name(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  const std::string file(file_name(error ? path : real.string()));
  const std::size_t at = file.find(".so.");
  if (at == file.npos || file.find('.', at + 4) == file.npos)
    return {};
  return file.substr(at + 4);
}

std::string version_of(const object_facts& object, bool look_up_package) {
  if (!object.c_library_version.empty())
    return object.c_library_version;
  if (known_allocator_of(object.path).empty())
    return {}; // the program's version, or that of anything, says nothing of an allocator inside
  std::string version = look_up_package ? package_version(object.path) : "";
  return version.empty() ? version_in_name(object.path) : version;
}

} // namespace

bool names_same_library(const std::string& entry, const std::string& path) {
  // The loader fills in "$LIB" and the like.
  if (entry.find('/') == entry.npos || entry.find('$') != entry.npos)
    return stem_of(file_name(path)) == stem_of(file_name(entry));
  std::error_code error;
  const fs::path whole(entry);
  const fs::path folder = fs::weakly_canonical(whole.parent_path(), error);
  return stem_of((folder / whole.filename()).string()) == stem_of(path);
}

std::vector<object_facts>
in_search_order(std::vector<placed_object> objects,
                const std::optional<std::vector<std::size_t>>& preloaded) {
  if (objects.empty())
    return {};
  search_list list(objects);
  list.take(0);
  for (const std::size_t index : preloaded ? *preloaded : guess_preloaded(objects))
    list.take(index);
  list.take_what_they_link();
  for (std::size_t index = objects.size(); index-- > 1;) // as they came, from high addresses down
    list.take(index);
  std::vector<object_facts> ordered;
  for (const std::size_t index : list.order())
    ordered.push_back(std::move(objects[index].facts));
  return ordered;
}

std::map<std::string, std::size_t> find_providers(const std::vector<object_facts>& objects) {
  std::map<std::string, std::size_t> providers;
  for (std::size_t index = 0; index < objects.size(); ++index)
    for (const std::string& name : objects[index].functions)
      providers.emplace(name, index); // the first one stays
  return providers;
}

std::string describe(const object_facts& object, bool look_up_package) {
  const std::string name = allocator_name(object);
  const std::string version = version_of(object, look_up_package);
  if (name.empty())
    return object.path;
  return fmt::format("{} ({}{}{})", object.path, name, version.empty() ? "" : " ", version);
}

} // namespace mete::cli
