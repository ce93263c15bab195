/* A C program that opens C++ libraries: operator new has no C++ library to turn to when the program
 * starts, and must find the one that came later when memory is out. The second library replaces
 * operator new and delete. Arguments: the paths of the two.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

typedef void plugin_function(void);

static void use(const char* path, int flags) {
  void* const plugin = dlopen(path, RTLD_NOW | flags);
  if (plugin == NULL) {
    check_failed(__FILE__, __LINE__, "dlopen: ", dlerror());
  }
  void* const symbol = dlsym(plugin, "plugin_test");
  plugin_function* test = NULL;
  memcpy(&test, &symbol, sizeof symbol);
  CHECK(test != NULL);
  test();
  CHECK_EQ(dlclose(plugin), 0);
}

int main(int count, char** arguments) {
  require_mete();
  CHECK_EQ(count, 3);
  CHECK(dlsym(RTLD_DEFAULT, "__cxa_throw") == NULL); /* no C++ library: that is the point */
  for (int i = 1; i < count; ++i) {
    use(arguments[i], RTLD_LOCAL);
  }
  use(arguments[2], RTLD_GLOBAL);
}
