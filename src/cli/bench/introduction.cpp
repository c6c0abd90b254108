#include "cli/bench/introduction.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <asio/error.hpp>

#include "cli/bench/line_buffer.hpp"
#include "cli/bench/measurement.hpp"
#include "cli/bench/plain_stream.hpp"

namespace dflockd::bench {
namespace {

constexpr std::size_t kLongestReply = 256;

/// The reply to a request, without its '\n'.
template <class Stream>
Awaitable<std::string> ask(Stream& stream, const Options& options, std::string_view request) {
  std::error_code error;
  if (!stream.send(request, error)) co_await stream.send_rest(error);

  LineBuffer input(kLongestReply);
  std::optional<std::string_view> reply;
  while (!error && !reply) {
    const std::span<char> space = input.space();
    if (space.empty()) error = std::make_error_code(std::errc::message_size);
    if (!error) input.commit(co_await stream.read_some(space, error));
    reply = input.next();
  }
  if (reply) co_return std::string(*reply);
  if (error == asio::error::eof) {
    throw std::runtime_error(address(options) + " closed the connection");
  }
  throw std::runtime_error("connection to " + address(options) + " lost: " + error.message());
}

}  // namespace

Awaitable<void> shake_hands(TlsStream& stream, const Options& options) {
  std::error_code error;
  co_await stream.handshake(error);
  if (error) {
    throw std::runtime_error("TLS handshake with " + address(options) +
                             " failed: " + stream.why(error));
  }
}

template <class Stream>
Awaitable<void> authenticate(Stream& stream, const Options& options) {
  const std::string request = "auth\n_\n" + *options.auth_token + "\n";
  const std::string reply = co_await ask(stream, options, request);
  if (reply == "ok") co_return;
  if (reply == "error_auth") throw std::runtime_error(address(options) + " refused the secret");
  throw std::runtime_error(address(options) + " answered auth with \"" + printable(reply) +
                           "\"; does it have a secret?");
}

template <class Stream>
Awaitable<void> ping(Stream& stream, const Options& options) {
  const std::string reply = co_await ask(stream, options, "ping\n_\n_\n");
  if (reply != "ok") {
    throw std::runtime_error(address(options) + " answered ping with \"" + printable(reply) + "\"");
  }
}

template Awaitable<void> authenticate(PlainStream& stream, const Options& options);
template Awaitable<void> authenticate(TlsStream& stream, const Options& options);
template Awaitable<void> ping(TlsStream& stream, const Options& options);

}  // namespace dflockd::bench
