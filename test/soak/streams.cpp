// Actors that use what allocates inside of the C library: streams, which reallocate with their
// locks held, and names, patterns, paths and formats.
//
// SPDX-License-Identifier: MIT
#include "soak.hpp"

#include <dirent.h>
#include <grp.h>
#include <malloc.h>
#include <netdb.h>
#include <pwd.h>
#include <regex.h>

extern "C" int __nss_configure_lookup(const char* database, const char* services);

namespace soak {

namespace {

class streams_actor final : public actor {
public:
  streams_actor(std::uint64_t seed, const char* folder) : actor("streams", seed) {
    snprintf(path_, sizeof path_, "%s/lines-%llx", folder, static_cast<unsigned long long>(seed));
    FILE* file = fopen(path_, "w");
    CHECK(file != nullptr);
    for (int line = 0; line < lines; ++line) {
      fprintf(file, "%0*d\n", length_of(line), line);
    }
    CHECK_EQ(fclose(file), 0);
  }

  void step() override {
    switch (random.below(8)) {
    case 0:
      fflush(nullptr);
      break;
    case 1:
      read_a_pipe();
      break;
    case 2:
      write_to_memory();
      break;
    case 3:
      write_to_a_file();
      break;
    default:
      read_lines();
    }
  }

private:
  static constexpr int lines = 300;
  static int length_of(int line) { return 1 + line * 37 % 30000; }

  // Without memory a line cannot be read; what is read has to be right.
  void read_lines() {
    FILE* file = fopen(path_, "r");
    if (file == nullptr) {
      return;
    }
    char* line = nullptr;
    std::size_t room = 0;
    const bool keep = random.below(2) == 0;
    for (int number = 0; number < lines; ++number) {
      const ssize_t length = getline(&line, &room, file);
      if (length < 0) {
        break;
      }
      CHECK_EQ(length, std::max(length_of(number), snprintf(nullptr, 0, "%d", number)) + 1);
      CHECK_EQ(std::atoi(line), number);
      if (!keep) {
        free(line);
        line = nullptr;
        room = 0;
      }
    }
    free(line);
    fclose(file);
  }

  void read_a_pipe() {
    const reading no_limit(limits);
    FILE* pipe = popen("echo some words", "re");
    CHECK(pipe != nullptr);
    char text[100] = "";
    CHECK(fgets(text, sizeof text, pipe) != nullptr);
    CHECK_EQ(std::strcmp(text, "some words\n"), 0);
    CHECK_EQ(pclose(pipe), 0);
  }

  void write_to_memory() {
    char* text = nullptr;
    std::size_t size = 0;
    FILE* file = open_memstream(&text, &size);
    if (file == nullptr) {
      return;
    }
    const std::size_t count = random.below(3000);
    for (std::size_t index = 0; index < count; ++index) {
      fprintf(file, "%zu,", index);
    }
    if (random.below(4) == 0) {
      malloc_info(0, file);
    }
    fclose(file);
    free(text);
  }

  void write_to_a_file() {
    char* name = nullptr;
    if (asprintf(&name, "%s.out", path_) < 0) {
      return;
    }
    FILE* file = fopen(name, random.below(2) == 0 ? "w" : "a");
    if (file != nullptr) {
      setvbuf(file, nullptr, _IOFBF, 1 + random.below(100000));
      for (int index = 0; index < 100; ++index) {
        fprintf(file, "%d %s\n", index, name);
      }
      fclose(file);
    }
    free(name);
  }

  char path_[300];
};

class names_actor final : public actor {
public:
  explicit names_actor(std::uint64_t seed) : actor("names", seed) {
    // By files only: no other machine and no service is asked.
    for (const char* each : {"passwd", "group", "hosts", "services", "protocols"}) {
      __nss_configure_lookup(each, "files");
    }
  }

  void step() override {
    const reading no_limit(limits); // a service that could not be loaded once is never tried again
    switch (random.below(7)) {
    case 0: {
      const passwd* user = getpwnam("root");
      CHECK(user != nullptr && user->pw_uid == 0);
      break;
    }
    case 1:
      CHECK(getgrgid(0) != nullptr);
      break;
    case 2:
      resolve();
      break;
    case 3:
      list_a_folder();
      break;
    case 4: {
      char* path = realpath("/proc/self/exe", nullptr);
      CHECK(path != nullptr);
      free(path);
      break;
    }
    case 5:
      match();
      break;
    default:
      setpwent();
      while (getpwent() != nullptr) {
      }
      endpwent();
    }
  }

private:
  void resolve() {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(random.below(2) == 0 ? "127.0.0.1" : "localhost", "80", &wanted, &found) == 0) {
      freeaddrinfo(found);
    }
  }

  void list_a_folder() {
    dirent** entries = nullptr;
    const int count = scandir("/", &entries, nullptr, alphasort);
    CHECK_GE(count, 0);
    for (int index = 0; index < count; ++index) {
      free(entries[index]);
    }
    free(entries);
  }

  void match() {
    regex_t pattern;
    CHECK_EQ(regcomp(&pattern, "^([a-z]+|[0-9]{2,9})*(x|y)?$", REG_EXTENDED), 0);
    CHECK_EQ(regexec(&pattern, "abc123def", 0, nullptr, 0), 0);
    regfree(&pattern);
  }
};

} // namespace

actor* make_streams_actor(std::uint64_t seed, const char* folder) {
  return new streams_actor(seed, folder);
}

actor* make_names_actor(std::uint64_t seed) {
  return new names_actor(seed);
}

} // namespace soak
