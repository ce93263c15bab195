// SPDX-License-Identifier: MIT
#include <mete/shared_memory_source.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/sources.hpp"

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

class shared_memory_test : public testing::Test {
protected:
  shared_memory_test() { shm_unlink(name()); }
  ~shared_memory_test() override { shm_unlink(name()); }

  // Of this process, because tests run side by side.
  static const char* name() {
    static const std::string text = "/mete-test-" + std::to_string(getpid());
    return text.c_str();
  }
  static bool exists() {
    const int file = shm_open(name(), O_RDWR, 0);
    if (file >= 0)
      close(file);
    return file >= 0;
  }
};

TEST_F(shared_memory_test, random_use) {
  mete::shared_memory_source memory({.name = name(), .bytes = mib});
  ASSERT_EQ(memory.error(), 0) << memory.usage().note;
  EXPECT_EQ(memory.span().size(), mib);
  EXPECT_TRUE(memory.created());
  mete::test::exercise_source(memory);
  mete::test::expect_impossible_acquisitions_fail(memory);
  const auto all = memory.acquire(mib);
  EXPECT_EQ(all.size(), mib);
  memory.release(all);
}

TEST_F(shared_memory_test, who_opens_it_sees_the_same_bytes) {
  mete::shared_memory_source creator({.name = name(), .bytes = 100'000});
  mete::shared_memory_source other({.name = name(), .how = mete::shared_memory::open});
  ASSERT_EQ(other.error(), 0);
  EXPECT_FALSE(other.created());
  EXPECT_EQ(other.span().size(), 100'000u);
  const auto block = creator.acquire(1000);
  std::memset(block.data(), 7, block.size());
  const auto offset = static_cast<std::size_t>(block.data() - creator.span().data());
  EXPECT_NE(other.span().data(), creator.span().data());
  EXPECT_EQ(other.span()[offset + 999], std::byte{7});
  EXPECT_TRUE(other.acquire(16).empty()) << "its creator divides it";
  EXPECT_NE(other.usage().note, nullptr);
  creator.release(block);
}

TEST_F(shared_memory_test, another_process_opens_it) {
  mete::shared_memory_source creator({.name = name(), .bytes = 4096});
  const pid_t child = fork();
  if (child == 0) {
    mete::shared_memory_source other({.name = name(), .how = mete::shared_memory::create_or_open});
    if (other.created() || other.span().size() != 4096)
      _exit(1);
    other.span()[4095] = std::byte{42};
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(creator.span()[4095], std::byte{42});
}

TEST_F(shared_memory_test, the_name_goes_when_it_was_told_to) {
  {
    mete::shared_memory_source at_end({.name = name(), .bytes = 4096});
    EXPECT_TRUE(exists());
    { mete::shared_memory_source user({.name = name(), .how = mete::shared_memory::open}); }
    EXPECT_TRUE(exists()) << "only its creator removes it";
    if (const pid_t child = fork(); child == 0) {
      at_end.~shared_memory_source();
      _exit(0);
    } else {
      waitpid(child, nullptr, 0);
    }
    EXPECT_TRUE(exists()) << "a copy in a forked process is not its creator";
  }
  EXPECT_FALSE(exists());
  {
    mete::shared_memory_source never(
        {.name = name(), .bytes = 4096, .unlink = mete::unlink_name::never});
  }
  EXPECT_TRUE(exists());
  shm_unlink(name());
  mete::shared_memory_source at_once(
      {.name = name(), .bytes = 4096, .unlink = mete::unlink_name::at_once});
  EXPECT_FALSE(exists());
  EXPECT_EQ(at_once.span().size(), 4096u);
}

TEST_F(shared_memory_test, what_fails_is_told) {
  using mete::shared_memory;
  mete::shared_memory_source missing({.name = name(), .how = shared_memory::open});
  EXPECT_EQ(missing.error(), ENOENT);
  EXPECT_TRUE(missing.span().empty());
  EXPECT_TRUE(missing.acquire(1).empty());
  EXPECT_STREQ(missing.usage().note, "shared_memory_source: the name cannot be created or opened");
  EXPECT_EQ(mete::shared_memory_source({.name = nullptr, .bytes = 1}).error(), EINVAL);
  EXPECT_EQ(mete::shared_memory_source({.name = name(), .bytes = 0}).error(), EINVAL);
  EXPECT_EQ(mete::shared_memory_source({.name = name(), .bytes = SIZE_MAX}).error(), EINVAL);
  EXPECT_NE(mete::shared_memory_source({.name = name(), .bytes = SIZE_MAX / 2}).error(), 0)
      << "more than there is";
  EXPECT_FALSE(exists()) << "what could not be made leaves no name";

  mete::shared_memory_source first({.name = name(), .bytes = 4096});
  EXPECT_EQ(mete::shared_memory_source({.name = name(), .bytes = 4096}).error(), EEXIST);
  EXPECT_EQ(mete::shared_memory_source({.name = name(), .bytes = 5000, .how = shared_memory::open})
                .error(),
            EAGAIN);
  EXPECT_TRUE(exists());
}

TEST_F(shared_memory_test, misuse) {
  mete::shared_memory_source memory({.name = name(), .bytes = 4096});
  mete::heap_source heap;
  const auto block = memory.acquire(64);
  const auto foreign = heap.acquire(64);
  EXPECT_DEATH(memory.release(foreign), "mete-test.*it is not of this memory");
  memory.release(block);
  EXPECT_DEATH(memory.release(block), "it, or a part of it, is free");
  heap.release(foreign);
}

} // namespace
