// simulate: lives through worlds, each made from a seed, and reports which of them the server
// failed in.
//
//   simulate --seeds 1000 [--from 1] [--jobs 4]
//   simulate --seed 123 [--trace]
//
// Every world is lived through in a process that may die in it: an assertion that fails and an
// endless loop are failures of a seed like any other. Exit status: 0 if all went well, 1 if not, 2
// if the command line is wrong.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logging/logging.hpp"
#include "world.hpp"

namespace {

using dflockd::simulation::Totals;
using dflockd::simulation::Violation;
using dflockd::simulation::World;

/// How long a world may take: a thousand times what most do.
constexpr unsigned kPatience = 120;

struct Options {
  std::uint64_t first = 1;
  std::uint64_t count = 100;
  std::uint64_t jobs = 0;
  std::uint64_t most_failures = 10;
  bool trace = false;
};

/// What a worker leaves behind, also when it dies.
struct Progress {
  std::uint64_t seed = 0;  ///< that it works at
  std::uint64_t failures = 0;
  Totals totals;
  bool finished = false;
};

std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int at = 1; at < argc; ++at) {
    const std::string_view flag = argv[at];
    if (flag == "--trace") {
      options.trace = true;
      continue;
    }
    std::uint64_t value = 0;
    if (++at == argc) return std::nullopt;
    const std::string_view word = argv[at];
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
    if (flag == "--seed") {
      options.first = value;
      options.count = 1;
    } else if (flag == "--seeds") {
      options.count = value;
    } else if (flag == "--from") {
      options.first = value;
    } else if (flag == "--jobs") {
      options.jobs = value;
    } else if (flag == "--failures") {
      options.most_failures = value;
    } else {
      return std::nullopt;
    }
  }
  if (options.jobs == 0) options.jobs = std::max(1U, std::thread::hardware_concurrency());
  if (options.trace) options.jobs = 1;
  return options;
}

void report(const char* program, std::uint64_t seed, std::string what) {
  // Keys may hold any bytes.
  std::ranges::replace_if(
      what, [](char c) { return c < ' ' || c > '~'; }, '?');
  const std::string number = std::to_string(seed);
  const std::string line =
      "seed " + number + ": " + what + "; repeat: " + program + " --seed " + number + " --trace\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

/// Lives through every seed that is this worker's, beginning with `seed`.
void work(const Options& options, const char* program, std::uint64_t seed, Progress& progress) {
  for (; seed < options.first + options.count; seed += options.jobs) {
    progress.seed = seed;
    if (progress.failures >= options.most_failures) break;
    ::alarm(kPatience);
    World world(seed, options.trace ? stdout : nullptr);
    try {
      progress.totals += world.run();
    } catch (const Violation& violation) {
      ++progress.failures;
      report(program, seed, world.where() + ": " + violation.what());
    }
  }
  progress.finished = true;
}

/// Starts a worker. `progress` is shared with it.
pid_t start(const Options& options, const char* program, std::uint64_t seed, Progress& progress) {
  std::fflush(stdout);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  work(options, program, seed, progress);
  std::fflush(stdout);
  ::_exit(0);
}

void print(const Totals& totals, double seconds) {
  const double years = static_cast<double>(totals.simulated_ms) / 1000 / 86'400 / 365.25;
  std::printf(
      "%llu seeds: %llu steps, %llu requests, %llu grants, %llu expiries, %llu disconnects, "
      "%llu drains, %llu crashes, %llu faults, %llu undecided, %.2f years simulated in %.1f s "
      "(%.0f seeds/s)\n",
      static_cast<unsigned long long>(totals.seeds), static_cast<unsigned long long>(totals.steps),
      static_cast<unsigned long long>(totals.requests),
      static_cast<unsigned long long>(totals.grants),
      static_cast<unsigned long long>(totals.expiries),
      static_cast<unsigned long long>(totals.disconnects),
      static_cast<unsigned long long>(totals.drains),
      static_cast<unsigned long long>(totals.crashes),
      static_cast<unsigned long long>(totals.faults),
      static_cast<unsigned long long>(totals.undecided), years, seconds,
      static_cast<double>(totals.seeds) / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<Options> options = parse(argc, argv);
  if (!options) {
    std::fputs(
        "usage: simulate [--seeds N] [--from SEED] [--seed SEED] [--trace] [--jobs N]"
        " [--failures N]\n",
        stderr);
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t jobs = options->jobs;
  void* const shared = ::mmap(nullptr, jobs * sizeof(Progress), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    std::perror("mmap");
    return 2;
  }
  auto* const progress = static_cast<Progress*>(shared);
  std::vector<pid_t> workers(jobs);
  for (std::size_t job = 0; job < jobs; ++job) {
    progress[job] = {};
    workers[job] = start(*options, argv[0], options->first + job, progress[job]);
  }

  Totals totals;
  std::uint64_t failures = 0;
  for (std::size_t job = 0; job < jobs; ++job) {
    int status = 0;
    while (::waitpid(workers[job], &status, 0) == workers[job] && !progress[job].finished) {
      const std::string how = WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "it exited";
      report(argv[0], progress[job].seed, "the process died: " + how);
      if (++progress[job].failures >= options->most_failures) break;
      workers[job] = start(*options, argv[0], progress[job].seed + jobs, progress[job]);
    }
    totals += progress[job].totals;
    failures += progress[job].failures;
  }
  totals.seeds += failures;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (!options->trace) print(totals, took.count());
  return failures == 0 ? 0 : 1;
}
