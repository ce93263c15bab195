// Copies of a library under different names, so that dlopen loads each of them anew.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "process.hpp"

#include <sys/sendfile.h>
#include <sys/stat.h>

class library_copies {
public:
  library_copies(const char* library, int count) : count_(count) {
    CHECK(mkdtemp(folder_) != nullptr);
    for (int i = 0; i < count; ++i) {
      copy(library, i);
    }
  }

  ~library_copies() {
    for (int i = 0; i < count_; ++i) {
      unlink(path(i));
    }
    rmdir(folder_);
  }

  library_copies(const library_copies&) = delete;
  library_copies& operator=(const library_copies&) = delete;

  void* open_copy(int i) {
    void* library = dlopen(path(i), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      check_failed(__FILE__, __LINE__, "dlopen: ", dlerror());
    }
    return library;
  }

private:
  const char* path(int i) {
    snprintf(path_, sizeof path_, "%s/copy%d.so", folder_, i);
    return path_;
  }

  void copy(const char* library, int i) {
    int from = open(library, O_RDONLY | O_CLOEXEC);
    int to = open(path(i), O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    struct stat status;
    CHECK_EQ(fstat(from, &status), 0);
    CHECK_EQ(sendfile(to, from, nullptr, static_cast<std::size_t>(status.st_size)), status.st_size);
    close(from);
    close(to);
  }

  char folder_[64] = "/tmp/mete-test-XXXXXX";
  char path_[128] = {};
  int count_;
};
