#include "bench/load.hpp"

#include <algorithm>
#include <csignal>
#include <stdexcept>

#include <sys/resource.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>

#include "bench/report.hpp"

namespace dflockd::bench {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

/// How long to wait for the replies that are due when the measurement ends.
constexpr seconds kDrainLimit{1};
/// How long beyond what it may take to wait for a reply before giving the server up, and at most.
constexpr seconds kGrace{3};
constexpr std::chrono::hours kLongestPatience{24 * 365};

/// Lets the process open as many connections as the system allows it.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // if it fails, connecting will say what is wrong
}

}  // namespace

Load::Load(Options options)
    : options_(std::move(options)),
      wire_(options_),
      server_(address(options_)),
      measurement_(options_.count),
      io_(ASIO_CONCURRENCY_HINT_UNSAFE),
      signals_(io_),
      phase_timer_(io_.get_executor()),
      progress_timer_(io_.get_executor()) {
  if (options_.tls) tls_.emplace(options_);
}

const Result& Load::run() {
  clockid_t clock{};
  if (options_.server_pid && ::clock_getcpuclockid(*options_.server_pid, &clock) == 0) {
    server_clock_ = clock;
  }
  connect();
  start();
  if (options_.busy_poll) {
    while (!io_.stopped()) io_.poll();
  } else {
    io_.run();
  }
  if (!failure_.empty()) throw std::runtime_error(failure_);
  return measurement_.result();
}

void Load::connect() {
  raise_descriptor_limit();
  std::error_code error;
  asio::ip::tcp::resolver resolver(io_);
  const auto found = resolver.resolve(options_.host, std::to_string(options_.port), error);
  if (error) throw std::runtime_error("cannot resolve " + options_.host + ": " + error.message());

  for (std::size_t number = 0; number < options_.connections; ++number) {
    Client& client = *clients_.emplace_back(make_client(number));
    for (const auto& entry : found) {
      client.connect(entry.endpoint(), error);
      if (!error) break;
    }
    if (error) {
      throw std::runtime_error("cannot open connection " + std::to_string(number + 1) + " of " +
                               std::to_string(options_.connections) + " to " + server_ + ": " +
                               error.message());
    }
    if (options_.tls || options_.auth_token || options_.http) introduce(client);
  }
  if (options_.tls) measurement_.agreed(clients_.front()->agreed());
}

std::unique_ptr<Client> Load::make_client(std::size_t number) {
  if (options_.handshakes) {
    return std::make_unique<HandshakeClient>(io_, *tls_, options_, measurement_);
  }
  if (options_.tls) {
    return std::make_unique<LockClient<net::TlsStream>>(io_, &*tls_, options_, wire_, measurement_,
                                                        number);
  }
  return std::make_unique<LockClient<net::PlainStream>>(io_, nullptr, options_, wire_, measurement_,
                                                        number);
}

/// Waits until the client and the server know each other.
void Load::introduce(Client& client) {
  bool overdue = false;
  std::exception_ptr failure;
  phase_timer_.expires_after(kGrace);
  phase_timer_.async_wait([&](std::error_code cancelled) {
    if (cancelled) return;
    overdue = true;
    client.close();
  });
  asio::co_spawn(io_, client.introduce(), [&](const std::exception_ptr& thrown) {
    failure = thrown;
    phase_timer_.cancel();
  });
  io_.run();
  io_.restart();
  if (overdue) throw std::runtime_error(silence(kGrace));
  if (failure) std::rethrow_exception(failure);
}

void Load::start() {
  sigset_t caught;
  sigemptyset(&caught);
  for (const int signal : {SIGINT, SIGTERM}) {
    signals_.add(signal);
    sigaddset(&caught, signal);
  }
  ::pthread_sigmask(SIG_UNBLOCK, &caught, nullptr);  // they may have been blocked at the start
  signals_.async_wait([this](std::error_code error, int) {
    if (!error) interrupt();
  });

  // First, because without a warm-up the measurement begins before the first client does.
  asio::co_spawn(io_, conduct(), asio::detached);
  if (Progress::is_wanted(options_)) asio::co_spawn(io_, show_progress(), asio::detached);
  for (const auto& client : clients_) {
    ++running_;
    asio::co_spawn(io_, client->run(), [this](const std::exception_ptr& thrown, auto error) {
      client_ended(thrown, error);
    });
  }
}

net::Awaitable Load::conduct() {
  if (options_.warmup.count() > 0 && !interrupted_) co_await sleep(options_.warmup);
  begin_measuring();
  if (options_.count) {
    co_await wait_for_count();
  } else if (!interrupted_) {
    co_await sleep(options_.duration);
  }
  end_measuring();
  if (running_ > 0 && failure_.empty()) co_await sleep(kDrainLimit);
  shut_down();
}

net::Awaitable Load::wait_for_count() {
  const seconds patience = std::min<seconds>(
      options_.timeout + std::chrono::ceil<seconds>(options_.hold) + kGrace, kLongestPatience);
  while (!interrupted_ && running_ > 0) {
    const std::uint64_t replies = measurement_.replies();
    co_await sleep(patience);
    if (running_ > 0 && !interrupted_ && measurement_.replies() == replies) {
      fail(silence(patience));
    }
  }
}

std::string Load::silence(seconds patience) const {
  return server_ + " has answered nothing for " + std::to_string(patience.count()) + " s";
}

net::Awaitable Load::show_progress() {
  Progress progress(measurement_, options_);
  while (!measurement_.is_draining()) {
    std::error_code cancelled;
    progress_timer_.expires_after(seconds(1));
    co_await progress_timer_.async_wait(net::into(cancelled));
    if (!measurement_.is_draining()) progress.show();
  }
}

net::Awaitable Load::sleep(nanoseconds duration) {
  std::error_code woken;
  phase_timer_.expires_after(duration);
  co_await phase_timer_.async_wait(net::into(woken));
}

void Load::begin_measuring() {
  server_cpu_at_begin_ = server_cpu();
  measurement_.begin(Clock::now());
}

void Load::end_measuring() {
  measurement_.end(Clock::now());
  if (server_clock_) measurement_.server_used(server_cpu() - server_cpu_at_begin_);
  progress_timer_.cancel();
  for (const auto& client : clients_) client->end_hold();
}

void Load::shut_down() {
  signals_.cancel();
  for (const auto& client : clients_) client->close();
}

void Load::interrupt() {
  signals_.clear();  // a second signal does what it does to any process
  interrupted_ = true;
  phase_timer_.cancel();
}

void Load::client_ended(const std::exception_ptr& thrown, std::error_code error) {
  --running_;
  std::string why;
  if (error == asio::error::eof || error == asio::error::connection_reset) {
    why = server_ + " closed the connection";
  } else if (error) {
    why = "connection to " + server_ + " lost: " + error.message();
  }
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const std::runtime_error& failure) {
    why = failure.what();
  }
  if (!why.empty() && !measurement_.is_draining()) fail(why);
  if (running_ == 0) phase_timer_.cancel();
}

void Load::fail(const std::string& message) {
  if (failure_.empty()) failure_ = message;
  interrupted_ = true;
  phase_timer_.cancel();
}

nanoseconds Load::server_cpu() {
  if (!server_clock_) return nanoseconds(0);
  timespec used{};
  if (::clock_gettime(*server_clock_, &used) != 0) {
    fail("process " + std::to_string(*options_.server_pid) + " has gone");
    return server_cpu_at_begin_;
  }
  return seconds(used.tv_sec) + nanoseconds(used.tv_nsec);
}

}  // namespace dflockd::bench
