// history_client: a process of users that fight for a few locks and semaphores through the doors of
// a server, and of users that want one of their own now and then; all write down what they ask and
// hear. Runs until SIGTERM.
//
//   history_client --out c1.1.history --seed 7 --host 127.0.0.1 --port 6388 --http-port 6389
//     --doors tcp,http --workers 4 --keys L:a,L:b,S:c=3 --quiet-keys L:d --ref c1
//
// Of every three users two share locks, and of these one has a stable ref, if there are any.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "worker.hpp"

namespace {

using namespace dflockd::history;

struct Options {
  std::string out;
  std::string host = "127.0.0.1";
  std::uint16_t port = 6388;
  std::uint16_t http_port = 6389;
  std::string ca;
  std::string secret;
  std::string ref;
  std::uint64_t seed = 1;
  std::size_t workers = 4;
  std::vector<std::string> doors{"tcp"};
  std::vector<std::string> keys{"L:a", "L:b", "S:c=3"};
  std::vector<std::string> quiet_keys;
};

Key parse_key(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return {text, 0};
  return {text.substr(0, equals), std::stoll(text.substr(equals + 1))};
}

/// A thread of its own, which cannot leave the process with a half of its users.
void work(Worker& worker) {
  try {
    worker.run();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "history_client: %s\n", failure.what());
    std::_Exit(1);
  }
}

void run(const Options& options) {
  std::signal(SIGTERM, [](int) { stopping = true; });
  std::signal(SIGINT, [](int) { stopping = true; });
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes with write(2)
  const Server server{options.host, options.port, options.http_port,
                      options.ca.empty() ? nullptr : trusting(options.ca), options.secret};
  std::vector<Key> keys;
  std::ranges::transform(options.keys, std::back_inserter(keys), parse_key);
  Writer writer(options.out);
  Pool pool;
  std::vector<Worker> workers;
  workers.reserve(options.workers + options.quiet_keys.size());
  const auto employ = [&](const std::vector<Key>& wanted, Habit habit) {
    const std::size_t number = workers.size();
    const bool has_ref = number % 3 == 1 && !options.ref.empty();
    User user{.door = options.doors[number % options.doors.size()],
              .keys = wanted,
              .habit = habit,
              .shares = number % 3 != 2,
              .ref = has_ref ? options.ref + "." + std::to_string(number) : ""};
    workers.emplace_back(server, std::move(user), writer, pool, options.seed * 1000 + number);
  };
  for (std::size_t i = 0; i < options.workers; ++i) employ(keys, Habit::kBusy);
  for (const std::string& key : options.quiet_keys) employ({parse_key(key)}, Habit::kQuiet);
  std::vector<std::jthread> threads;
  threads.reserve(workers.size());
  for (Worker& worker : workers) threads.emplace_back([&worker] { work(worker); });
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  CLI::App app("Users of locks who write down what they see");
  app.add_option("--out", options.out, "the history to write")->required();
  app.add_option("--host", options.host, "the server's IPv4 address");
  app.add_option("--port", options.port, "of the line protocol");
  app.add_option("--http-port", options.http_port, "of HTTP");
  app.add_option("--ca", options.ca, "the certificate to trust, for tls and https");
  app.add_option("--secret", options.secret, "the server's, if it has one");
  app.add_option("--ref", options.ref, "what the users' stable refs begin with");
  app.add_option("--seed", options.seed, "what the users' choices come from");
  app.add_option("--workers", options.workers, "how many users fight for the keys")
      ->check(CLI::Range(1, 1000));
  app.add_option("--doors", options.doors, "tcp, tls, http, https")
      ->delimiter(',')
      ->check(CLI::IsMember({"tcp", "tls", "http", "https"}));
  app.add_option("--keys", options.keys, "L:NAME or S:NAME=LIMIT")->delimiter(',');
  app.add_option("--quiet-keys", options.quiet_keys, "each with a user that wants it now and then")
      ->delimiter(',');
  CLI11_PARSE(app, count, arguments);
  try {
    run(options);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "history_client: %s\n", failure.what());
    return 1;
  }
  return 0;
}
