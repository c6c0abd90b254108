#include "net/listener.hpp"

#include <cerrno>
#include <exception>
#include <optional>
#include <utility>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <asio/ip/v6_only.hpp>

#include "access/address.hpp"
#include "base/boot_clock.hpp"
#include "logging/logging.hpp"

namespace dflockd::net {

namespace {

using asio::ip::tcp;

/// How long to leave a listener alone that cannot accept.
constexpr auto kPause = std::chrono::milliseconds(100);

/// How many connections are accepted before others have a turn.
constexpr int kAcceptedAtOnce = 16;

/// Finds peers that vanished without a word, such as a machine that lost power, while they wait for
/// a lock: after half a minute of silence, within another half.
constexpr int kKeepaliveIdleS = 30;
constexpr int kKeepaliveIntervalS = 10;
constexpr int kKeepaliveProbes = 3;

std::chrono::nanoseconds clock_now() {
  return base::BootClock::now().time_since_epoch();
}

/// The address to bind for a host: itself if it is an address, else what it resolves to, IPv4
/// first.
tcp::endpoint resolve(asio::io_context& context, const ListenAddress& address) {
  asio::ip::basic_resolver<tcp, Executor> resolver(context.get_executor());
  const auto found =
      resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive);
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

/// Accepted sockets inherit these from their listener (tcp(7)), if it had them when they connected.
void set_options(int descriptor) {
  const auto set = [descriptor](int level, int option, int value) {
    ::setsockopt(descriptor, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleS);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalS);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
}

}  // namespace

Listener::Listener(asio::io_context& context, std::string_view name, const ListenAddress& address,
                   access::Gate& gate, Welcome welcome)
    : name_(name),
      context_(context),
      acceptor_(context.get_executor()),
      pause_(context.get_executor()),
      gate_(gate),
      welcome_(std::move(welcome)) {
  address.descriptor ? adopt(*address.descriptor) : listen(address);
  const tcp::endpoint bound = endpoint();
  logging::info(
      "listening",
      {{"listener", name_}, {"address", bound.address().to_string()}, {"port", bound.port()}});
}

void Listener::adopt(int descriptor) {
  try {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
      throw std::system_error(errno, std::system_category());
    }
    acceptor_.assign(bound.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), descriptor);
    adopted_ = true;
    never_wait_in_accept();
    set_options(acceptor_.native_handle());
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(),
                            "cannot listen on descriptor " + std::to_string(descriptor));
  }
}

void Listener::listen(const ListenAddress& address) {
  try {
    const tcp::endpoint endpoint = resolve(context_, address);
    acceptor_.open(endpoint.protocol());
    never_wait_in_accept();
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    set_options(acceptor_.native_handle());
    if (endpoint.address().is_v6()) acceptor_.set_option(asio::ip::v6_only(false));
    acceptor_.bind(endpoint);
    acceptor_.listen();
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(),
                            "cannot listen on " + access::joined(address.host, address.port));
  }
}

/// asio would wait for another connection if one has been aborted in the backlog (accept(2)),
/// whatever the socket's mode.
void Listener::never_wait_in_accept() {
  acceptor_.non_blocking(true);
  acceptor_.set_option(asio::socket_base::enable_connection_aborted(true));
}

Awaitable Listener::run() {
  while (acceptor_.is_open()) {
    std::error_code error;
    co_await acceptor_.async_wait(tcp::acceptor::wait_read, into(error));
    // Not async_accept: asio loses the coroutine if it finds no memory for a socket.
    for (int accepted = 0; !error && accepted < kAcceptedAtOnce; ++accepted) accept(error);
    if (!error || error == asio::error::would_block || error == asio::error::operation_aborted ||
        error == asio::error::connection_aborted) {
      continue;
    }
    note_failure(error.message());
    pause_.expires_after(kPause);
    co_await pause_.async_wait(into(error));
  }
}

/// Takes a connection out of the backlog.
void Listener::accept(std::error_code& error) {
  try {
    Socket socket = acceptor_.accept(error);
    if (!error) admit(std::move(socket));
  } catch (const std::exception& failure) {
    note_failure(failure.what());  // no memory or no descriptor; others are being served
  }
}

/// Hands a connection on if there is room for it, and otherwise closes it.
void Listener::admit(Socket socket) {
  std::error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return;  // it has left already
  std::optional<access::Gate::Pass> pass = gate_.admit(peer.address(), clock_now());
  if (!pass) return;
  socket.non_blocking(true);
  // It may have connected before the listener was ours.
  if (adopted_) set_options(socket.native_handle());
  welcome_(std::move(socket), peer, std::move(*pass));
}

void Listener::close() {
  std::error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
}

void Listener::tick(std::chrono::nanoseconds now) {
  if (const auto count = failures_.overdue(now)) warn("more_of_them", *count);
}

void Listener::note_failure(std::string_view error) {
  if (const auto count = failures_.note(clock_now())) warn(error, *count);
}

void Listener::warn(std::string_view error, std::uint64_t count) const {
  logging::warn("cannot_accept", {{"listener", name_}, {"error", error}, {"count", count}});
}

}  // namespace dflockd::net
