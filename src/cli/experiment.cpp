// SPDX-License-Identifier: MIT
#include "cli/experiment.hpp"

#include "cli/command.hpp"
#include "cli/environment.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::cli {
namespace {

namespace fs = std::filesystem;

// An empty folder for one run, gone with what is in it.
class scratch_folder {
public:
  scratch_folder() {
    path_ = (fs::temp_directory_path() / "mete-compare-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr)
      throw command_error(status_failed,
                          fmt::format("no scratch folder '{}': {}", path_, std::strerror(errno)));
  }
  ~scratch_folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

// A text as a file that a child can read.
class text_as_input {
public:
  explicit text_as_input(const std::string& text) : file_(::memfd_create("output", 0)) {
    for (std::size_t at = 0; at < text.size();) {
      const ssize_t count = ::write(file_.number(), text.data() + at, text.size() - at);
      if (count <= 0)
        throw command_error(status_failed, fmt::format("memfd: {}", std::strerror(errno)));
      at += static_cast<std::size_t>(count);
    }
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", file_.number()); }

private:
  descriptor file_;
};

// Why it does not count, as far as its end tells; empty if it does.
std::string failure_at_end(const measured_run& run) {
  switch (run.end) {
  case run_end::timed_out:
    return fmt::format("it took longer than --timeout; {}", last_words(run.output));
  case run_end::interrupted:
    return "interrupted";
  case run_end::never_ready:
    return fmt::format("the server was not ready in time (see --ready-port, --ready-line and "
                       "--timeout); {}",
                       last_words(run.output));
  case run_end::ended_before_client:
    return fmt::format("the server ended before its client: {}; {}", words_for_end(run.wait_status),
                       last_words(run.output));
  case run_end::client_failed:
    return fmt::format("the client: {}; {}", words_for_end(run.wait_status),
                       last_words(run.client_output));
  case run_end::would_not_stop:
    return fmt::format("the server did not end within 10 s of SIGTERM; {}", last_words(run.output));
  case run_end::exited:
  case run_end::killed:
    break;
  }
  return run.wait_status == 0
             ? ""
             : fmt::format("{}; {}", words_for_end(run.wait_status), last_words(run.output));
}

// The same of the allocator that it ran on.
std::string failure_of_proof(const measured_run& run, const candidate& what) {
  if (what.as_shipped)
    return {};
  if (!what.library.empty() && !run.preloaded_was_mapped)
    return fmt::format("'{}' was not loaded into it: it may be static, setuid, of another "
                       "architecture, or drop LD_PRELOAD; see: mete doctor -- program",
                       what.library);
  const std::string expected = what.library.empty() ? c_library_path() : what.library;
  if (!run.malloc_file.empty() && !same_file(run.malloc_file, expected))
    return fmt::format("its malloc came from '{}', not from '{}'; see: mete doctor -- program",
                       run.malloc_file, expected);
  return {};
}

// One group: the number. Two: its name, then the number. The last match of a name counts: programs
// print progress before the result.
std::vector<std::pair<std::string, double>> find_metrics(const std::string& output,
                                                         const std::regex& pattern) {
  std::vector<std::pair<std::string, double>> found;
  for (std::sregex_iterator match(output.begin(), output.end(), pattern), end; match != end;
       ++match) {
    const std::string name = pattern.mark_count() == 1 ? "metric" : match->str(1);
    const std::string text = match->str(pattern.mark_count());
    char* rest = nullptr;
    const double value = std::strtod(text.c_str(), &rest);
    if (text.empty() || *rest != '\0')
      continue;
    const auto before = std::find_if(found.begin(), found.end(),
                                     [&](const auto& each) { return each.first == name; });
    if (before == found.end())
      found.emplace_back(name, value);
    else
      before->second = value;
  }
  return found;
}

class experimenter {
public:
  experimenter(compared_workload& all, const prepared_workload& prepared,
               const std::function<void(const std::string&)>& remark, const stop_flag& stop)
      : all_(all), prepared_(prepared), remark_(remark), stop_(stop) {}

  judged_run run(candidate& what) {
    judged_run judged = run_once(what);
    // Where a library that the program brings comes before the C library, that has to be preloaded
    // as well.
    const std::string& file = judged.run.malloc_file;
    if (what.library.empty() && !what.as_shipped && !known_allocator_of(file).empty()) {
      remark_(fmt::format("'{}' brings {}; for {}, LD_PRELOAD names {} before it",
                          all_.what.program[0], file, what.name, c_library_path()));
      what.library = c_library_path();
      judged = run_once(what);
    }
    judged.run.output.clear();
    judged.run.client_output.clear();
    return judged;
  }

private:
  judged_run run_once(const candidate& what) {
    std::optional<scratch_folder> scratch;
    if (all_.what.scratch)
      scratch.emplace();
    const child_request program =
        request_for(all_.what, what, scratch ? scratch->path() : std::string());
    judged_run judged;
    judged.failure = set_up(program);
    if (!judged.failure.empty())
      return judged;
    judged.run = run_measured(
        {program, all_.what.timeout, all_.what.client, prepared_.ready_line, all_.what.ready_port},
        stop_);
    judged.failure = failure_at_end(judged.run);
    if (judged.failure.empty())
      judged.failure = failure_of_proof(judged.run, what);
    if (judged.failure.empty())
      judged.failure = find_result(judged);
    if (judged.failure.empty())
      judged.failure = check_result(judged.run, program);
    return judged;
  }

  std::string set_up(const child_request& program) const {
    if (all_.what.setup.empty())
      return {};
    const std::string trouble =
        run_command_line(shell_request(all_.what.setup, program), all_.what.timeout, stop_).trouble;
    if (trouble.empty())
      return {};
    end_all_children();
    return fmt::format("--setup: {}", trouble);
  }

  const std::string& result_of(const measured_run& run) const {
    return all_.what.client.empty() ? run.output : run.client_output;
  }

  std::string find_result(judged_run& judged) const {
    if (!prepared_.metric)
      return {};
    judged.metrics = find_metrics(result_of(judged.run), *prepared_.metric);
    return !judged.metrics.empty() ? ""
                                   : fmt::format("it printed nothing that matches --metric; {}",
                                                 last_words(result_of(judged.run)));
  }

  std::string check_result(const measured_run& run, const child_request& program) {
    if (all_.what.check.empty())
      return {};
    const text_as_input output(result_of(run));
    child_request check = shell_request(all_.what.check, program);
    check.input = output.path();
    const finished_command checked = run_command_line(check, all_.what.timeout, stop_);
    end_all_children();
    if (!checked.trouble.empty())
      return fmt::format("--check: {}", checked.trouble);
    if (!checked_)
      checked_ = checked.output;
    return *checked_ == checked.output
               ? ""
               : fmt::format("its result differs from an earlier run's, of which --check said: {}; "
                             "now it says: {}",
                             last_words(*checked_), last_words(checked.output));
  }

  compared_workload& all_;
  const prepared_workload& prepared_;
  const std::function<void(const std::string&)>& remark_;
  const stop_flag& stop_;
  std::optional<std::string> checked_; // what --check said the first time
};

} // namespace

void measure(compared_workload& all, const prepared_workload& prepared, const schedule& rounds,
             const std::function<void(const std::string&)>& announce,
             const std::function<void(const std::string&)>& remark, const stop_flag& stop) {
  experimenter runs(all, prepared, remark, stop);
  for (std::size_t round = 0; round < rounds.warmup + rounds.runs; ++round)
    for (compared_candidate& each : all.candidates) {
      const bool counts = round >= rounds.warmup;
      announce(fmt::format("{}, {} {}", each.what.name, counts ? "run" : "warm-up",
                           counts ? round - rounds.warmup + 1 : round + 1));
      judged_run judged = runs.run(each.what);
      if (stop.load(std::memory_order_relaxed))
        return;
      if (!counts)
        continue;
      judged.round = round - rounds.warmup + 1;
      each.runs.push_back(std::move(judged));
    }
}

} // namespace mete::cli
