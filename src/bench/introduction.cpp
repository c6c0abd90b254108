#include "bench/introduction.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <asio/error.hpp>

#include "bench/http_request.hpp"
#include "bench/line_buffer.hpp"
#include "bench/measurement.hpp"
#include "bench/plain_stream.hpp"
#include "bench/reply_reader.hpp"

namespace dflockd::bench {
namespace {

constexpr std::size_t kLongestReply = 256;
constexpr std::size_t kLongestHttpReply = 4096;
constexpr std::size_t kSessionIdSize = 32;

/// The reply to a request, which is valid while `input`, empty so far, is not touched.
template <class Stream, class Input>
Awaitable<typename Input::Reply> ask(Stream& stream, const Options& options,
                                     std::string_view request, Input& input) {
  std::error_code error;
  if (!stream.send(request, error)) co_await stream.send_rest(error);

  std::optional<typename Input::Reply> reply;
  while (!error && !reply) {
    const std::span<char> space = input.space();
    if (space.empty()) error = std::make_error_code(std::errc::message_size);
    if (!error) input.commit(co_await stream.read_some(space, error));
    reply = input.next();
    if constexpr (std::is_same_v<Input, ReplyReader>) {
      if (input.is_broken()) throw std::runtime_error(not_http(options, input.unread()));
    }
  }
  if (reply) co_return *reply;
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
  LineBuffer input(kLongestReply);
  const std::string_view reply = co_await ask(stream, options, request, input);
  if (reply == "ok") co_return;
  if (reply == "error_auth") throw std::runtime_error(address(options) + " refused the secret");
  throw std::runtime_error(address(options) + " answered auth with \"" + printable(reply) +
                           "\"; does it have a secret?");
}

template <class Stream>
Awaitable<void> ping(Stream& stream, const Options& options) {
  LineBuffer input(kLongestReply);
  const std::string_view reply = co_await ask(stream, options, "ping\n_\n_\n", input);
  if (reply != "ok") {
    throw std::runtime_error(address(options) + " answered ping with \"" + printable(reply) + "\"");
  }
}

template <class Stream>
Awaitable<std::string> open_session(Stream& stream, const Options& options) {
  constexpr std::string_view kTarget = "/v1/sessions";
  constexpr std::string_view kBeforeId = R"({"session_id":")";
  const std::string request = http_request(options, "POST", kTarget, "", "");
  ReplyReader input(kLongestHttpReply);
  const HttpReply reply = co_await ask(stream, options, request, input);
  if (reply.status == 401 && options.auth_token) {
    throw std::runtime_error(address(options) + " refused the secret");
  }
  if (reply.status == 200 && reply.body.starts_with(kBeforeId)) {
    const std::string_view id = reply.body.substr(kBeforeId.size(), kSessionIdSize);
    if (id.find('"') == std::string_view::npos) co_return std::string(id);
  }
  throw std::runtime_error(address(options) + " answered POST " + std::string(kTarget) +
                           " with \"" + printable(text(reply)) + "\"");
}

std::string not_http(const Options& options, std::string_view answer) {
  return address(options) + " does not speak HTTP/1.1: it answered \"" + printable(answer) + "\"";
}

template Awaitable<void> authenticate(PlainStream& stream, const Options& options);
template Awaitable<void> authenticate(TlsStream& stream, const Options& options);
template Awaitable<void> ping(TlsStream& stream, const Options& options);
template Awaitable<std::string> open_session(PlainStream& stream, const Options& options);
template Awaitable<std::string> open_session(TlsStream& stream, const Options& options);

}  // namespace dflockd::bench
