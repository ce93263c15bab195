// SPDX-License-Identifier: MIT
#include "cli/child_process.hpp"

#include "cli/command.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::cli {
namespace {

constexpr std::size_t max_output_bytes = std::size_t{1} << 20;
constexpr std::size_t last_words_bytes = 300;
constexpr std::chrono::milliseconds look_interval{100};

enum class step { directory, input, execute };

struct trouble {
  step at;
  int error;
};

struct two_ends {
  descriptor read;
  descriptor write;
};

two_ends make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw command_error(status_failed, fmt::format("no pipe: {}", std::strerror(errno)));
  return {descriptor(ends[0]), descriptor(ends[1])};
}

[[noreturn]] void give_up(int trouble_pipe, step at) {
  const trouble what{at, errno};
  (void)!::write(trouble_pipe, &what, sizeof what);
  ::_exit(status_not_found);
}

void set_environment(const child_request& request) {
  if (request.preload.empty())
    ::unsetenv("LD_PRELOAD");
  else
    ::setenv("LD_PRELOAD", request.preload.c_str(), 1);
  for (const auto& [name, value] : request.environment)
    ::setenv(name.c_str(), value.c_str(), 1);
}

// What the child does until it is the program.
[[noreturn]] void become(const child_request& request, int gate, int trouble_pipe, int output) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  char go = 0;
  while (::read(gate, &go, 1) < 0 && errno == EINTR) {
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Before the folder changes: its path is the caller's.
  const int input = ::open(request.input.empty() ? "/dev/null" : request.input.c_str(), O_RDONLY);
  if (input < 0)
    give_up(trouble_pipe, step::input);
  ::dup2(input, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  if (!request.directory.empty() && ::chdir(request.directory.c_str()) != 0)
    give_up(trouble_pipe, step::directory);
  set_environment(request);
  std::vector<std::string> arguments = request.program;
  ::execvp(request.program[0].c_str(), pointers_to(arguments).data());
  give_up(trouble_pipe, step::execute);
}

[[noreturn]] void throw_trouble(const child_request& request, const trouble& what) {
  const char* const reason = std::strerror(what.error);
  if (what.at == step::directory)
    throw command_error(status_usage,
                        fmt::format("cannot run in '{}': {}", request.directory, reason));
  if (what.at == step::input)
    throw command_error(status_usage, fmt::format("cannot read '{}': {}", request.input, reason));
  throw command_error(what.error == ENOENT ? status_not_found : status_not_executable,
                      fmt::format("cannot execute '{}': {}", request.program[0], reason));
}

} // namespace

child_request shell_request(const std::string& text, const child_request& beside) {
  return {{"/bin/sh", "-c", text}, "", beside.environment, beside.directory, ""};
}

child_process::child_process(const child_request& request) : request_(request) {
  // Whoever below it loses its parent becomes this process's child.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  two_ends gate = make_pipe(), trouble = make_pipe(), output = make_pipe();
  id_ = ::fork();
  if (id_ < 0)
    throw command_error(status_failed, fmt::format("no process: {}", std::strerror(errno)));
  if (id_ == 0)
    become(request_, gate.read.number(), trouble.write.number(), output.write.number());
  ::setpgid(id_, id_); // here too: whoever comes first
  gate_ = std::move(gate.write);
  trouble_ = std::move(trouble.read);
  output_ = std::move(output.read);
  ::fcntl(output_.number(), F_SETFL, O_NONBLOCK);
}

child_process::~child_process() {
  signal_group(SIGKILL);
}

void child_process::let_go() {
  (void)!::write(gate_.number(), "", 1);
  trouble what{};
  if (::read(trouble_.number(), &what, sizeof what) == sizeof what)
    throw_trouble(request_, what);
}

void child_process::drain_output() {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t count = ::read(output_.number(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0) {
      output_ended_ = count == 0;
      return;
    }
    text_.append(buffer.data(), static_cast<std::size_t>(count));
    if (text_.size() > 2 * max_output_bytes)
      text_.erase(0, text_.size() - max_output_bytes);
  }
}

child_signals::child_signals() {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  ::sigaddset(&wanted, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &wanted, &before_);
  number_ = ::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
}

child_signals::~child_signals() {
  ::close(number_);
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

void child_signals::take() const {
  signalfd_siginfo ignored;
  while (::read(number_, &ignored, sizeof ignored) > 0) {
  }
}

void end_all_children() {
  for (;;) {
    const std::vector<pid_t> left = descendants_of(::getpid());
    for (const pid_t each : left)
      ::kill(each, SIGKILL);
    // The end of one may bring its children here, so there is another look after each.
    if (::waitpid(-1, nullptr, __WALL) < 0 && errno == ECHILD)
      return;
  }
}

finished_command run_command_line(const child_request& request, std::chrono::milliseconds timeout,
                                  const stop_flag& stop) {
  const child_signals signals;
  const auto begin = std::chrono::steady_clock::now();
  child_process child(request);
  child.let_go();
  finished_command result;
  int status = 0;
  while (::waitpid(child.id(), &status, WNOHANG) == 0) {
    const bool late = timeout.count() != 0 && std::chrono::steady_clock::now() - begin > timeout;
    if (late || stop.load(std::memory_order_relaxed)) {
      result.trouble = late ? "took longer than --timeout" : "interrupted";
      child.signal_group(SIGKILL);
    }
    pollfd both[2] = {{signals.number(), POLLIN, 0}, {child.output_descriptor(), POLLIN, 0}};
    ::poll(both, 2, static_cast<int>(look_interval.count()));
    signals.take();
    child.drain_output();
  }
  child.drain_output();
  result.output = child.output();
  if (status != 0 && result.trouble.empty())
    result.trouble = fmt::format("{}; {}", words_for_end(status), last_words(result.output));
  return result;
}

std::string words_for_end(int wait_status) {
  if (WIFEXITED(wait_status))
    return fmt::format("exit status {}", WEXITSTATUS(wait_status));
  return fmt::format("killed by signal {} ({})", WTERMSIG(wait_status),
                     ::strsignal(WTERMSIG(wait_status)));
}

std::string last_words(const std::string& output) {
  std::string tail = output.substr(output.size() - std::min(output.size(), last_words_bytes));
  while (!tail.empty() && tail.back() == '\n')
    tail.pop_back();
  for (std::size_t at = 0; (at = tail.find('\n', at)) != tail.npos; at += 3)
    tail.replace(at, 1, " | ");
  return tail.empty() ? "it printed nothing" : "its last words: " + tail;
}

} // namespace mete::cli
