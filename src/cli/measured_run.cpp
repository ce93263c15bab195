// SPDX-License-Identifier: MIT
#include "cli/measured_run.hpp"

#include "cli/candidate.hpp"
#include "cli/command.hpp"
#include "cli/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <poll.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds sample_interval{10};
constexpr unsigned samples_per_look_at_lazily_freed = 10;
constexpr std::size_t max_samples = 2000; // then every second one goes, and the interval doubles
constexpr std::size_t max_output_bytes = std::size_t{1} << 20;

class descriptor {
public:
  explicit descriptor(int number = -1) : m_number(number) {}
  ~descriptor() { close(); }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  void close() {
    if (m_number >= 0)
      ::close(m_number);
    m_number = -1;
  }
  int number() const { return m_number; }

private:
  int m_number;
};

std::string read_file(const std::string& path) {
  const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return read_all(file.number());
}

// The figure in KiB behind `name` in a text like /proc/PID/status; 0 if it is not there.
std::size_t kibibytes_behind(const std::string& text, const char* name) {
  const std::size_t at = text.find(name);
  return at == text.npos ? 0 : std::strtoull(text.c_str() + at + std::strlen(name), nullptr, 10);
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}
double seconds_between(steady_clock::time_point from, steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// What the child does until it is the program. `gate`: it waits there until it is watched;
// `trouble` tells the parent why there was no exec.
[[noreturn]] void become(const run_request& request, int gate, int trouble, int output) {
  char go = 0;
  while (::read(gate, &go, 1) < 0 && errno == EINTR) {
  }
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  if (request.library.empty())
    ::unsetenv("LD_PRELOAD");
  else
    ::setenv("LD_PRELOAD", request.library.c_str(), 1);
  std::vector<std::string> arguments = request.program;
  ::execvp(request.program[0].c_str(), pointers_to(arguments).data());
  const int error = errno;
  (void)!::write(trouble, &error, sizeof error);
  ::_exit(status_not_found);
}

// While it lives, SIGCHLD arrives as something to read.
class child_signals {
public:
  child_signals() {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    ::sigaddset(&wanted, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &wanted, &m_before);
    m_number = ::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~child_signals() {
    ::close(m_number);
    ::sigprocmask(SIG_SETMASK, &m_before, nullptr);
  }
  child_signals(const child_signals&) = delete;
  child_signals& operator=(const child_signals&) = delete;
  int number() const { return m_number; }
  void take() const {
    signalfd_siginfo ignored;
    while (::read(m_number, &ignored, sizeof ignored) > 0) {
    }
  }

private:
  sigset_t m_before{};
  int m_number = -1;
};

class follower {
public:
  follower(const run_request& request, const volatile int* stop)
      : m_request(request), m_stop(stop) {}

  measured_run follow() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    start();
    while (!reap())
      wait_a_little();
    drain_output();
    return std::move(m_result);
  }

private:
  void start() {
    int gate[2], trouble[2], output[2];
    if (::pipe2(gate, O_CLOEXEC) != 0 || ::pipe2(trouble, O_CLOEXEC) != 0 ||
        ::pipe2(output, O_CLOEXEC | O_NONBLOCK) != 0)
      throw command_error(status_failed, fmt::format("no pipe: {}", std::strerror(errno)));
    ::fcntl(output[1], F_SETFL, 0); // the program expects a pipe that blocks
    const descriptor gate_in(gate[0]), gate_out(gate[1]), trouble_in(trouble[0]);
    descriptor trouble_out(trouble[1]), output_in(output[1]);
    m_output.emplace(output[0]);
    m_process = ::fork();
    if (m_process < 0)
      throw command_error(status_failed, fmt::format("no process: {}", std::strerror(errno)));
    if (m_process == 0)
      become(m_request, gate[0], trouble[1], output[1]);
    ::setpgid(m_process, m_process);
    if (::ptrace(PTRACE_SEIZE, m_process, nullptr, reinterpret_cast<void*>(PTRACE_O_TRACEEXIT)) !=
        0) {
      const int error = errno;
      end_group(SIGKILL);
      ::waitpid(m_process, nullptr, 0);
      throw command_error(status_failed,
                          fmt::format("the program cannot be watched: {}; allow ptrace, for "
                                      "instance with: sysctl kernel.yama.ptrace_scope=1",
                                      std::strerror(error)));
    }
    m_begin = m_next_sample = steady_clock::now();
    (void)!::write(gate_out.number(), "", 1);
    trouble_out.close();
    output_in.close();
    int error = 0;
    if (::read(trouble_in.number(), &error, sizeof error) == sizeof error) {
      while (!reap()) {
      }
      throw command_error(
          error == ENOENT ? status_not_found : status_not_executable,
          fmt::format("cannot execute '{}': {}", m_request.program[0], std::strerror(error)));
    }
  }

  // Handles what the process has reported; true when it has ended.
  bool reap() {
    for (;;) {
      int status = 0;
      rusage used{};
      const pid_t who = ::wait4(m_process, &status, WNOHANG | __WALL, &used);
      if (who == 0 || (who < 0 && errno == EINTR))
        return false;
      if (who < 0)
        throw command_error(status_failed, fmt::format("wait4: {}", std::strerror(errno)));
      if (!WIFSTOPPED(status)) {
        finish(status, used);
        return true;
      }
      const int event = status >> 16;
      if (event == PTRACE_EVENT_EXIT)
        look_before_the_end();
      const long deliver = event == 0 ? WSTOPSIG(status) : 0;
      ::ptrace(event == PTRACE_EVENT_STOP ? PTRACE_LISTEN : PTRACE_CONT, m_process, nullptr,
               reinterpret_cast<void*>(event == PTRACE_EVENT_STOP ? 0 : deliver));
    }
  }

  void look_before_the_end() {
    const auto begin = steady_clock::now();
    const std::string maps = read_file(fmt::format("/proc/{}/maps", m_process));
    m_result.mappings = static_cast<int>(std::count(maps.begin(), maps.end(), '\n'));
    m_result.allocators = allocators_in_maps(maps);
    if (!m_request.library.empty()) {
      std::error_code error;
      const std::string real = std::filesystem::canonical(m_request.library, error).string();
      m_result.preloaded_was_mapped = maps.find(" " + real + "\n") != maps.npos;
    }
    m_result.peak_bytes =
        kibibytes_behind(read_file(fmt::format("/proc/{}/status", m_process)), "VmHWM:") * 1024;
    m_paused += seconds_between(begin, steady_clock::now());
  }

  void finish(int status, const rusage& used) {
    m_result.wall_seconds = seconds_between(m_begin, steady_clock::now()) - m_paused;
    m_result.user_seconds = seconds_of(used.ru_utime);
    m_result.system_seconds = seconds_of(used.ru_stime);
    m_result.page_faults = used.ru_minflt + used.ru_majflt;
    // Larger than this command can only be what the program has waited for.
    rusage own{};
    ::getrusage(RUSAGE_SELF, &own);
    if (used.ru_maxrss > own.ru_maxrss)
      m_result.peak_bytes =
          std::max(m_result.peak_bytes, static_cast<std::size_t>(used.ru_maxrss) * 1024);
    m_result.context_switches = used.ru_nvcsw + used.ru_nivcsw;
    m_result.status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
    if (m_ended_by)
      m_result.end = *m_ended_by;
    else
      m_result.end = WIFEXITED(status) ? run_end::exited : run_end::killed;
    end_those_left_behind();
  }

  // What the program started and did not wait for. It is this process's child now, so one can wait
  // for its end.
  void end_those_left_behind() const {
    end_group(SIGKILL);
    while (::waitpid(-m_process, nullptr, __WALL) > 0 || errno == EINTR) {
    }
  }

  // Until something is to be done: output, a sample, the timeout, or the process itself, whose
  // reports come as SIGCHLD.
  void wait_a_little() {
    const auto now = steady_clock::now();
    if (*m_stop != 0 && !m_ended_by)
      end_early(run_end::interrupted);
    if (m_request.timeout.count() != 0 && now - m_begin > m_request.timeout && !m_ended_by)
      end_early(run_end::timed_out);
    if (now >= m_next_sample) {
      take_sample(seconds_between(m_begin, now));
      m_next_sample = now + m_interval;
    }
    const auto rest = std::chrono::ceil<milliseconds>(m_next_sample - now);
    pollfd both[2] = {{m_signals.number(), POLLIN, 0},
                      {m_output_ended ? -1 : m_output->number(), POLLIN, 0}};
    ::poll(both, 2, static_cast<int>(std::max<long>(rest.count(), 0)));
    m_signals.take();
    if (both[1].revents != 0)
      drain_output();
  }

  void end_early(run_end why) {
    m_ended_by = why;
    end_group(SIGKILL);
  }

  void end_group(int signal) const { ::kill(-m_process, signal); }

  void take_sample(double second) {
    // The second number of statm: resident pages. Cheap, unlike smaps_rollup.
    const std::string statm = read_file(fmt::format("/proc/{}/statm", m_process));
    const std::size_t blank = statm.find(' ');
    if (blank == statm.npos)
      return;
    memory_sample sample;
    sample.second = second;
    sample.resident_bytes = std::strtoull(statm.c_str() + blank, nullptr, 10) *
                            static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (m_looks++ % samples_per_look_at_lazily_freed == 0)
      m_lazily_freed = kibibytes_behind(read_file(fmt::format("/proc/{}/smaps_rollup", m_process)),
                                        "LazyFree:") *
                       1024;
    sample.lazily_freed_bytes = m_lazily_freed;
    m_result.memory.push_back(sample);
    if (m_result.memory.size() < max_samples)
      return;
    for (std::size_t at = 0; at < max_samples / 2; ++at)
      m_result.memory[at] = m_result.memory[2 * at];
    m_result.memory.resize(max_samples / 2);
    m_interval *= 2;
  }

  void drain_output() {
    std::array<char, 65536> buffer;
    for (;;) {
      const ssize_t count = ::read(m_output->number(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR)
        continue;
      if (count <= 0) {
        m_output_ended = count == 0;
        return;
      }
      m_result.output.append(buffer.data(), static_cast<std::size_t>(count));
      if (m_result.output.size() > 2 * max_output_bytes)
        m_result.output.erase(0, m_result.output.size() - max_output_bytes);
    }
  }

  const child_signals m_signals;
  const run_request& m_request;
  const volatile int* m_stop;
  std::optional<descriptor> m_output;
  pid_t m_process = -1;
  measured_run m_result;
  steady_clock::time_point m_begin;
  steady_clock::time_point m_next_sample;
  milliseconds m_interval = sample_interval;
  double m_paused = 0;
  unsigned m_looks = 0;
  std::size_t m_lazily_freed = 0;
  bool m_output_ended = false;
  std::optional<run_end> m_ended_by;
};

} // namespace

measured_run run_measured(const run_request& request, const volatile int* stop) {
  return follower(request, stop).follow();
}

} // namespace mete::cli
