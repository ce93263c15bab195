// SPDX-License-Identifier: MIT
#include "cli/measured_run.hpp"

#include "cli/allocator_checks.hpp"
#include "cli/command.hpp"
#include "cli/listening.hpp"
#include "cli/subject.hpp"

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
  follower(const run_request& request, const stop_flag& stop)
      : request_(request), stop_(stop), program_(request.program) {}
  ~follower() { end_all_children(); }
  follower(const follower&) = delete;
  follower& operator=(const follower&) = delete;

  measured_run follow() {
    start();
    while (!reap()) {
      proceed();
      wait_a_little();
    }
    program_.drain_output();
    result_.output = program_.output();
    return std::move(result_);
  }

private:
  enum class phase { running, starting, serving, stopping };

  void start() {
    if (::ptrace(PTRACE_SEIZE, program_.id(), nullptr,
                 reinterpret_cast<void*>(PTRACE_O_TRACEEXIT)) != 0)
      throw command_error(status_failed,
                          fmt::format("the program cannot be watched: {}; allow ptrace, for "
                                      "instance with: sysctl kernel.yama.ptrace_scope=1",
                                      std::strerror(errno)));
    begin_ = next_sample_ = steady_clock::now();
    if (request_.timeout.count() != 0)
      deadline_ = begin_ + request_.timeout;
    else if (phase_ == phase::starting)
      deadline_ = begin_ + time_to_get_ready;
    program_.let_go();
  }

  // Handles what the process has reported; true when it has ended.
  bool reap() {
    for (;;) {
      int status = 0;
      rusage used{};
      const pid_t who = ::wait4(program_.id(), &status, WNOHANG | __WALL, &used);
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
      ::ptrace(event == PTRACE_EVENT_STOP ? PTRACE_LISTEN : PTRACE_CONT, program_.id(), nullptr,
               reinterpret_cast<void*>(event == PTRACE_EVENT_STOP ? 0 : deliver));
    }
  }

  void look_before_the_end() {
    const auto begin = steady_clock::now();
    const std::string maps = text_of_file(fmt::format("/proc/{}/maps", program_.id()));
    result_.mappings = static_cast<int>(std::count(maps.begin(), maps.end(), '\n'));
    result_.malloc_file = find_malloc_file();
    if (const std::string& preload = request_.program.preload; !preload.empty()) {
      std::error_code error;
      const std::string real = std::filesystem::canonical(preload, error).string();
      result_.preloaded_was_mapped = maps.find(" " + real + "\n") != maps.npos;
    }
    result_.peak_bytes = bytes_in(fmt::format("/proc/{}/status", program_.id()), "VmHWM:");
    paused_ += seconds_between(begin, steady_clock::now());
  }

  std::string find_malloc_file() const {
    try {
      const subject seen = look_at_process(program_.id(), request_.program.preload);
      const object_facts* const provider = malloc_provider(seen);
      const object_facts& program = seen.objects.front();
      // What a static program has inside cannot be told from the C library's.
      return provider == nullptr || (provider == &program && program.is_static()) ? ""
                                                                                  : provider->path;
    } catch (const command_error&) {
      return {}; // it may not be looked at, being setuid, say
    }
  }

  void finish(int status, const rusage& used) {
    if (request_.client.empty())
      result_.wall_seconds = seconds_between(begin_, steady_clock::now()) - paused_;
    result_.user_seconds = seconds_of(used.ru_utime);
    result_.system_seconds = seconds_of(used.ru_stime);
    result_.page_faults = used.ru_minflt + used.ru_majflt;
    // Larger than this command can only be what the program has waited for.
    rusage own{};
    ::getrusage(RUSAGE_SELF, &own);
    if (used.ru_maxrss > own.ru_maxrss)
      result_.peak_bytes =
          std::max(result_.peak_bytes, static_cast<std::size_t>(used.ru_maxrss) * 1024);
    result_.context_switches = used.ru_nvcsw + used.ru_nivcsw;
    judge_end(status);
  }

  void judge_end(int status) {
    if (ended_by_) {
      result_.end = *ended_by_;
      if (ended_by_ == run_end::client_failed)
        return; // whose status it is
    } else if (phase_ == phase::starting || phase_ == phase::serving) {
      result_.end = run_end::ended_before_client;
    } else if (phase_ == phase::stopping && ended_as_asked(status)) {
      result_.end = run_end::exited;
      status = 0;
    } else {
      result_.end = WIFEXITED(status) ? run_end::exited : run_end::killed;
    }
    result_.wait_status = status;
  }

  // Does what the time has come for.
  void proceed() {
    const auto now = steady_clock::now();
    if (stop_.load(std::memory_order_relaxed))
      end_early(run_end::interrupted);
    if (now > deadline_)
      end_early(phase_ == phase::starting ? run_end::never_ready : run_end::timed_out);
    if (now >= next_sample_) {
      take_sample(seconds_between(begin_, now));
      next_sample_ = now + interval_;
    }
    if (phase_ == phase::starting && !ended_by_ && is_ready())
      start_client();
    if (phase_ == phase::serving)
      look_at_client();
    if (phase_ == phase::stopping && now > stop_until_)
      end_early(run_end::would_not_stop);
  }

  bool is_ready() const {
    if (request_.ready_line)
      return std::regex_search(program_.output(), *request_.ready_line);
    std::vector<pid_t> processes = descendants_of(program_.id());
    processes.push_back(program_.id());
    return listens(processes, request_.ready_port);
  }

  void start_client() {
    client_.emplace(shell_request(request_.client, request_.program));
    if (request_.timeout.count() == 0)
      deadline_ = steady_clock::time_point::max();
    client_begin_ = steady_clock::now();
    client_->let_go();
    phase_ = phase::serving;
  }

  void look_at_client() {
    client_->drain_output();
    int status = 0;
    if (::waitpid(client_->id(), &status, WNOHANG) != client_->id())
      return;
    result_.wall_seconds = seconds_between(client_begin_, steady_clock::now());
    client_->drain_output();
    result_.client_output = client_->output();
    phase_ = phase::stopping;
    stop_until_ = steady_clock::now() + time_to_stop;
    if (status != 0) {
      result_.wait_status = status;
      end_early(run_end::client_failed);
    } else {
      ::kill(program_.id(), SIGTERM);
    }
  }

  // Until something is to be done: output, a sample, the timeout, or the end of a process, which
  // is told as SIGCHLD.
  void wait_a_little() {
    auto until = next_sample_;
    if (phase_ == phase::starting)
      until = std::min(until, steady_clock::now() + ready_interval);
    const auto rest = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    pollfd all[3] = {{signals_.number(), POLLIN, 0},
                     {program_.output_descriptor(), POLLIN, 0},
                     {client_ ? client_->output_descriptor() : -1, POLLIN, 0}};
    ::poll(all, 3, static_cast<int>(std::max<long>(rest.count(), 0)));
    signals_.take();
    if (all[1].revents != 0)
      program_.drain_output();
    if (all[2].revents != 0)
      client_->drain_output();
  }

  void end_early(run_end why) {
    if (ended_by_)
      return;
    ended_by_ = why;
    program_.signal_group(SIGKILL);
  }

  void take_sample(double second) {
    // The second number of statm: resident pages. Cheap, unlike smaps_rollup.
    const std::string statm = text_of_file(fmt::format("/proc/{}/statm", program_.id()));
    const std::size_t blank = statm.find(' ');
    if (blank == statm.npos)
      return;
    memory_sample sample;
    sample.second = second;
    sample.resident_bytes = std::strtoull(statm.c_str() + blank, nullptr, 10) *
                            static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (looks_++ % samples_per_look_at_lazily_freed == 0)
      lazily_freed_ = bytes_in(fmt::format("/proc/{}/smaps_rollup", program_.id()), "LazyFree:");
    sample.lazily_freed_bytes = lazily_freed_;
    result_.memory.push_back(sample);
    if (result_.memory.size() < max_samples)
      return;
    for (std::size_t at = 0; at < max_samples / 2; ++at)
      result_.memory[at] = result_.memory[2 * at];
    result_.memory.resize(max_samples / 2);
    interval_ *= 2;
  }

  const child_signals signals_;
  const run_request& request_;
  const stop_flag& stop_;
  child_process program_;
  std::optional<child_process> client_;
  phase phase_ = request_.client.empty() ? phase::running : phase::starting;
  measured_run result_;
  steady_clock::time_point begin_;
  steady_clock::time_point client_begin_;
  steady_clock::time_point stop_until_;
  steady_clock::time_point deadline_ = steady_clock::time_point::max();
  steady_clock::time_point next_sample_;
  milliseconds interval_ = sample_interval;
  double paused_ = 0;
  unsigned looks_ = 0;
  std::size_t lazily_freed_ = 0;
  std::optional<run_end> ended_by_;
};

} // namespace

measured_run run_measured(const run_request& request, const stop_flag& stop) {
  return follower(request, stop).follow();
}

} // namespace mete::cli
