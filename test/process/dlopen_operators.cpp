// A plugin that replaces operator new and delete, opened by a C++ program. The loader looks names
// up in the program and its libraries first, so that the plugin, too, uses theirs: those of mete,
// as they would be those of libstdc++ without it. The argument is the plugin's path.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <memory>
#include <string>

int main(int count, char** arguments) {
  require_mete();
  CHECK_EQ(count, 2);
  for (const int flags : {RTLD_NOW | RTLD_LOCAL, RTLD_LAZY | RTLD_GLOBAL}) {
    const auto before = std::make_unique<std::string>(1000, 'b');
    void* const plugin = dlopen(arguments[1], flags);
    CHECK(plugin != nullptr);
    CHECK_EQ(find_function<int()>("plugin_news", plugin)(), 0);
    // The program's own forms are what they were.
    delete[] hide(new int[100]);
    delete hide(new std::string(1000, 's'));
    CHECK_EQ(before->size(), 1000);
    CHECK_EQ(dlclose(plugin), 0);
  }
}
