// SPDX-License-Identifier: MIT
#include "cli/measured_run.hpp"

#include "cli/candidate.hpp"
#include "cli/command.hpp"
#include "cli/listening.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds sample_interval{10};
constexpr milliseconds ready_interval{5};
constexpr milliseconds time_to_get_ready{60000}; // where no timeout is set
constexpr milliseconds time_to_stop{10000};
constexpr unsigned samples_per_look_at_lazily_freed = 10;
constexpr std::size_t max_samples = 2000; // then every second one goes, and the interval doubles

// The figure in KiB behind `name` in a file like /proc/PID/status, in bytes; 0 if it is not there.
std::size_t bytes_in(const std::string& path, std::string_view name) {
  return number_behind(text_of_file(path), name).value_or(0) * 1024;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}
double seconds_between(steady_clock::time_point from, steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// How a server ends that was asked to with SIGTERM: by itself, by the signal, or as a shell says
// that.
bool ended_as_asked(int wait_status) {
  return wait_status == 0 || (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGTERM) ||
         (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 128 + SIGTERM);
}

class follower {
public:
  follower(const run_request& request, const volatile int* stop)
      : m_request(request), m_stop(stop), m_program(request.program) {}
  ~follower() { end_all_children(); }
  follower(const follower&) = delete;
  follower& operator=(const follower&) = delete;

  measured_run follow() {
    start();
    while (!reap()) {
      proceed();
      wait_a_little();
    }
    m_program.drain_output();
    m_result.output = m_program.output();
    return std::move(m_result);
  }

private:
  enum class phase { running, starting, serving, stopping };

  void start() {
    if (::ptrace(PTRACE_SEIZE, m_program.id(), nullptr,
                 reinterpret_cast<void*>(PTRACE_O_TRACEEXIT)) != 0)
      throw command_error(status_failed,
                          fmt::format("the program cannot be watched: {}; allow ptrace, for "
                                      "instance with: sysctl kernel.yama.ptrace_scope=1",
                                      std::strerror(errno)));
    m_begin = m_next_sample = steady_clock::now();
    if (m_request.timeout.count() != 0)
      m_deadline = m_begin + m_request.timeout;
    else if (m_phase == phase::starting)
      m_deadline = m_begin + time_to_get_ready;
    m_program.let_go();
  }

  // Handles what the process has reported; true when it has ended.
  bool reap() {
    for (;;) {
      int status = 0;
      rusage used{};
      const pid_t who = ::wait4(m_program.id(), &status, WNOHANG | __WALL, &used);
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
      ::ptrace(event == PTRACE_EVENT_STOP ? PTRACE_LISTEN : PTRACE_CONT, m_program.id(), nullptr,
               reinterpret_cast<void*>(event == PTRACE_EVENT_STOP ? 0 : deliver));
    }
  }

  void look_before_the_end() {
    const auto begin = steady_clock::now();
    const std::string maps = text_of_file(fmt::format("/proc/{}/maps", m_program.id()));
    m_result.mappings = static_cast<int>(std::count(maps.begin(), maps.end(), '\n'));
    m_result.allocators = allocators_in_maps(maps);
    if (const std::string& preload = m_request.program.preload; !preload.empty()) {
      std::error_code error;
      const std::string real = std::filesystem::canonical(preload, error).string();
      m_result.preloaded_was_mapped = maps.find(" " + real + "\n") != maps.npos;
    }
    m_result.peak_bytes = bytes_in(fmt::format("/proc/{}/status", m_program.id()), "VmHWM:");
    m_paused += seconds_between(begin, steady_clock::now());
  }

  void finish(int status, const rusage& used) {
    if (m_request.client.empty())
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
    judge_end(status);
  }

  void judge_end(int status) {
    if (m_ended_by) {
      m_result.end = *m_ended_by;
      if (m_ended_by == run_end::client_failed)
        return; // whose status it is
    } else if (m_phase == phase::starting || m_phase == phase::serving) {
      m_result.end = run_end::ended_before_client;
    } else if (m_phase == phase::stopping && ended_as_asked(status)) {
      m_result.end = run_end::exited;
      status = 0;
    } else {
      m_result.end = WIFEXITED(status) ? run_end::exited : run_end::killed;
    }
    m_result.wait_status = status;
  }

  // Does what the time has come for.
  void proceed() {
    const auto now = steady_clock::now();
    if (*m_stop != 0)
      end_early(run_end::interrupted);
    if (now > m_deadline)
      end_early(m_phase == phase::starting ? run_end::never_ready : run_end::timed_out);
    if (now >= m_next_sample) {
      take_sample(seconds_between(m_begin, now));
      m_next_sample = now + m_interval;
    }
    if (m_phase == phase::starting && !m_ended_by && is_ready())
      start_client();
    if (m_phase == phase::serving)
      look_at_client();
    if (m_phase == phase::stopping && now > m_stop_until)
      end_early(run_end::would_not_stop);
  }

  bool is_ready() const {
    if (m_request.ready_line)
      return std::regex_search(m_program.output(), *m_request.ready_line);
    std::vector<pid_t> processes = descendants_of(m_program.id());
    processes.push_back(m_program.id());
    return listens(processes, m_request.ready_port);
  }

  void start_client() {
    m_client.emplace(shell_request(m_request.client, m_request.program));
    if (m_request.timeout.count() == 0)
      m_deadline = steady_clock::time_point::max();
    m_client_begin = steady_clock::now();
    m_client->let_go();
    m_phase = phase::serving;
  }

  void look_at_client() {
    m_client->drain_output();
    int status = 0;
    if (::waitpid(m_client->id(), &status, WNOHANG) != m_client->id())
      return;
    m_result.wall_seconds = seconds_between(m_client_begin, steady_clock::now());
    m_client->drain_output();
    m_result.client_output = m_client->output();
    m_phase = phase::stopping;
    m_stop_until = steady_clock::now() + time_to_stop;
    if (status != 0) {
      m_result.wait_status = status;
      end_early(run_end::client_failed);
    } else {
      ::kill(m_program.id(), SIGTERM);
    }
  }

  // Until something is to be done: output, a sample, the timeout, or the end of a process, which
  // is told as SIGCHLD.
  void wait_a_little() {
    auto until = m_next_sample;
    if (m_phase == phase::starting)
      until = std::min(until, steady_clock::now() + ready_interval);
    const auto rest = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    pollfd all[3] = {{m_signals.number(), POLLIN, 0},
                     {m_program.output_descriptor(), POLLIN, 0},
                     {m_client ? m_client->output_descriptor() : -1, POLLIN, 0}};
    ::poll(all, 3, static_cast<int>(std::max<long>(rest.count(), 0)));
    m_signals.take();
    if (all[1].revents != 0)
      m_program.drain_output();
    if (all[2].revents != 0)
      m_client->drain_output();
  }

  void end_early(run_end why) {
    if (m_ended_by)
      return;
    m_ended_by = why;
    m_program.signal_group(SIGKILL);
  }

  void take_sample(double second) {
    // The second number of statm: resident pages. Cheap, unlike smaps_rollup.
    const std::string statm = text_of_file(fmt::format("/proc/{}/statm", m_program.id()));
    const std::size_t blank = statm.find(' ');
    if (blank == statm.npos)
      return;
    memory_sample sample;
    sample.second = second;
    sample.resident_bytes = std::strtoull(statm.c_str() + blank, nullptr, 10) *
                            static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (m_looks++ % samples_per_look_at_lazily_freed == 0)
      m_lazily_freed = bytes_in(fmt::format("/proc/{}/smaps_rollup", m_program.id()), "LazyFree:");
    sample.lazily_freed_bytes = m_lazily_freed;
    m_result.memory.push_back(sample);
    if (m_result.memory.size() < max_samples)
      return;
    for (std::size_t at = 0; at < max_samples / 2; ++at)
      m_result.memory[at] = m_result.memory[2 * at];
    m_result.memory.resize(max_samples / 2);
    m_interval *= 2;
  }

  const child_signals m_signals;
  const run_request& m_request;
  const volatile int* m_stop;
  child_process m_program;
  std::optional<child_process> m_client;
  phase m_phase = m_request.client.empty() ? phase::running : phase::starting;
  measured_run m_result;
  steady_clock::time_point m_begin;
  steady_clock::time_point m_client_begin;
  steady_clock::time_point m_stop_until;
  steady_clock::time_point m_deadline = steady_clock::time_point::max();
  steady_clock::time_point m_next_sample;
  milliseconds m_interval = sample_interval;
  double m_paused = 0;
  unsigned m_looks = 0;
  std::size_t m_lazily_freed = 0;
  std::optional<run_end> m_ended_by;
};

} // namespace

measured_run run_measured(const run_request& request, const volatile int* stop) {
  return follower(request, stop).follow();
}

} // namespace mete::cli
