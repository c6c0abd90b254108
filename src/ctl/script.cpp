#include <array>
#include <cstdio>
#include <istream>
#include <ostream>
#include <thread>

#include <dflockd/connection.hpp>

#include "ctl/commands.hpp"
#include "ctl/signals.hpp"
#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long after a connection has ended the server may not have noticed it, with a margin.
constexpr milliseconds kUnnoticed{200};

const std::string& server_of(const Options& options) {
  const auto count = static_cast<int>(options.servers.size());
  return options.servers[static_cast<std::size_t>(crc32_shard(options.key, count))];
}

Connection connect(const Options& options) {
  return Connection(connection_options(options, server_of(options)));
}

std::optional<Grant> ask(Connection& connection, const Options& options, std::stop_token stop) {
  const auto timeout = std::chrono::ceil<seconds>(options.timeout);
  return options.semaphore
             ? connection.semaphore_acquire(options.key, timeout, options.limit, options.lease,
                                            std::move(stop))
             : connection.acquire(options.key, timeout, options.lease, std::move(stop));
}

seconds renew_by(Connection& connection, const Options& options, const std::string& token,
                 seconds lease) {
  return options.semaphore ? connection.semaphore_renew(options.key, token, lease)
                           : connection.renew(options.key, token, lease);
}

void release_by(Connection& connection, const Options& options, const std::string& token) {
  if (options.semaphore) {
    connection.semaphore_release(options.key, token);
  } else {
    connection.release(options.key, token);
  }
}

/// Over a connection of its own.
void release_anew(const Options& options, const std::string& token) {
  Connection connection = connect(options);
  release_by(connection, options, token);
}

/// The lease of a grant whose connection has ended; nothing if that ended the grant.
std::optional<seconds> survive(const Options& options, const Grant& grant) {
  std::this_thread::sleep_for(kUnnoticed);
  Connection connection = connect(options);
  try {
    return renew_by(connection, options, grant.token, grant.lease_ttl);
  } catch (const Error& error) {
    if (error.code() == errc::not_held) return std::nullopt;
    throw;
  }
}

std::string token_of(const Options& options, std::istream& in) {
  std::string token = options.token;
  if (token == "-" && !std::getline(in, token)) token.clear();
  return token.substr(0, token.find_first_of(" \t\r"));  // `acquire` prints the lease after it
}

}  // namespace

int acquire(const Options& options, std::ostream& out) {
  Interruption interruption;
  std::optional<Grant> grant;
  try {
    Connection connection = connect(options);
    grant = ask(connection, options, interruption.token());
  } catch (const Error& error) {
    if (error.code() != errc::canceled) throw;
  }
  if (const int signal = interruption.end(); signal != 0) {
    if (grant) release_anew(options, grant->token);
    return kSignaled + signal;
  }
  if (!grant) {
    say(server_of(options) + ": " + in_quotes(options.key) + " was not granted in time");
    return kTimeout;
  }
  std::optional<seconds> lease;
  try {
    lease = survive(options, *grant);
  } catch (const Error& error) {
    say(error.what());
    say(in_quotes(options.key) + " was granted as " + grant->token +
        ", which may be held until its lease of " + std::to_string(grant->lease_ttl.count()) +
        " s is over, unless you release it");
    return kFailed;
  }
  if (!lease) {
    say(server_of(options) + " took " + in_quotes(options.key) +
        " back when the connection ended; start it with --auto-release-on-disconnect=false, or use "
        "'dflockctl lock'");
    return kFailed;
  }
  out << grant->token << ' ' << lease->count() << '\n';
  if (out.flush()) return 0;
  release_anew(options, grant->token);
  say("cannot write the token; the grant was released");
  return kFailed;
}

int release(const Options& options, std::istream& in) {
  release_anew(options, token_of(options, in));
  return 0;
}

int renew(const Options& options, std::istream& in, std::ostream& out) {
  Connection connection = connect(options);
  out << renew_by(connection, options, token_of(options, in), options.lease).count() << '\n';
  return 0;
}

int ping(const Options& options, std::ostream& out) {
  using Clock = std::chrono::steady_clock;
  int status = 0;
  for (const std::string& server : options.servers) {
    try {
      Connection connection(connection_options(options, server));
      const Clock::time_point begun = Clock::now();
      connection.ping();
      const std::chrono::duration<double, std::milli> taken = Clock::now() - begun;
      std::array<char, 32> number{};
      std::snprintf(number.data(), number.size(), "%.2f", taken.count());
      out << "pong from " << server << " in " << number.data() << " ms\n" << std::flush;
    } catch (const Error& error) {
      if (error.code() == errc::invalid_argument) throw;
      say(error.what());
      status = kFailed;
    }
  }
  return status;
}

}  // namespace dflockd::ctl
