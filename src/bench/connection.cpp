#include "bench/connection.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <asio/error.hpp>
#include <asio/ssl/error.hpp>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "base/text.hpp"

namespace dflockd::bench {
namespace {

using asio::ip::tcp;

template <class Stream>
constexpr bool kIsTls = std::is_same_v<Stream, net::TlsStream>;

/// The number at the start of `text`, if `end` follows it.
std::optional<std::uint32_t> number_before(std::string_view text, std::string_view end) {
  std::uint32_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  return error == std::errc() && text.starts_with(end) ? std::optional(number) : std::nullopt;
}

/// The body's size by a head whose lines all end with "\r\n".
std::optional<std::uint32_t> body_size(std::string_view head) {
  constexpr std::string_view kName = "\r\ncontent-length:";
  const auto equal = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a | 0x20 : a) == b; };
  const auto found = std::ranges::search(head, kName, equal);
  std::string_view value(found.end(), head.end());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return number_before(value, "\r\n");
}

base::TlsName name_of(const std::string& host) {
  auto name = base::tls_name(host);
  if (!name) throw std::runtime_error("--host '" + host + "' is no name of a server");
  return *std::move(name);
}

std::string openssl_reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "OpenSSL does not say why";
}

/// For what only fails when memory is short or OpenSSL is broken.
void require(bool succeeded) {
  if (!succeeded) throw std::runtime_error("OpenSSL: " + openssl_reason());
}

}  // namespace

TlsContext::TlsContext(const Options& options)
    : context_(SSL_CTX_new(TLS_client_method())), server_name_(name_of(options.host)) {
  require(context_ != nullptr);
  require(base::set_tls_rules(context_.get()));
  SSL_CTX_set_mode(context_.get(), SSL_MODE_RELEASE_BUFFERS);
  if (!options.tls_insecure) verify(options);
}

void TlsContext::verify(const Options& options) {
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  require(base::demand_name(context, server_name_));
  if (options.tls_ca.empty()) {
    require(SSL_CTX_set_default_verify_paths(context) == 1);
  } else if (SSL_CTX_load_verify_file(context, options.tls_ca.c_str()) != 1) {
    throw std::runtime_error("cannot use " + base::in_quotes(options.tls_ca) + ": " +
                             openssl_reason() + " (--tls-ca)");
  }
}

net::Ssl TlsContext::connect(SSL_SESSION* session) const {
  net::Ssl ssl(SSL_new(context_.get()));
  if (ssl == nullptr || !base::set_role(ssl.get(), &SSL_set_connect_state)) throw std::bad_alloc();
  require(base::announce_name(ssl.get(), server_name_));
  if (session != nullptr) require(SSL_set_session(ssl.get(), session) == 1);
  return ssl;
}

std::span<char> Input::space() {
  if (begin_ > 0) {
    std::copy(bytes_.data() + begin_, bytes_.data() + end_, bytes_.data());
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(bytes_).subspan(end_);
}

std::optional<Reply> Input::next() {
  return is_http_ ? next_of_http() : next_line();
}

std::optional<Reply> Input::next_line() {
  const std::string_view line = unread().substr(0, unread().find('\n'));
  if (line.size() == unread().size()) return std::nullopt;
  begin_ += line.size() + 1;
  return Reply{.status = 0, .text = line};
}

std::optional<Reply> Input::next_of_http() {
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  constexpr std::string_view kHeadEnd = "\r\n\r\n";
  const std::string_view text = unread();
  // At the first wrong byte: a server that speaks something else may wait for more.
  const std::size_t begun = std::min(text.size(), kVersion.size());
  broken_ = broken_ || text.substr(0, begun) != kVersion.substr(0, begun);
  const std::size_t head_end = text.find(kHeadEnd);
  if (broken_ || head_end == std::string_view::npos) return std::nullopt;

  const std::string_view head = text.substr(0, head_end + 2);
  const auto status = number_before(head.substr(kVersion.size()), " ");
  const auto size = status == 204U ? std::optional(0U) : body_size(head);
  broken_ = !status || *status < 200 || *status > 599 || !size;
  const std::size_t body = head_end + kHeadEnd.size();
  if (broken_ || text.size() - body < *size) return std::nullopt;
  begin_ += body + *size;
  return Reply{.status = static_cast<int>(*status), .text = text.substr(body, *size)};
}

template <class Stream>
Connection<Stream>::Connection(asio::io_context& io, const TlsContext* tls, const Options& options,
                               std::size_t input_size)
    : io_(io), tls_(tls), options_(options), input_(input_size, options.http) {}

template <class Stream>
void Connection<Stream>::connect(const tcp::endpoint& server, std::error_code& error) {
  net::Socket socket(io_.get_executor());
  socket.connect(server, error);
  adopt(std::move(socket), nullptr, error);
}

template <class Stream>
net::Awaitable Connection<Stream>::connect(const tcp::endpoint& server, SSL_SESSION* session,
                                           std::error_code& error) {
  net::Socket socket(io_.get_executor());
  co_await socket.async_connect(server, net::into(error));
  adopt(std::move(socket), session, error);
}

template <class Stream>
void Connection<Stream>::adopt(net::Socket socket, SSL_SESSION* session, std::error_code& error) {
  if (!error) socket.set_option(tcp::no_delay(true), error);
  if (!error) socket.non_blocking(true, error);
  if (error) return;
  if constexpr (kIsTls<Stream>) {
    net::Ssl ssl = tls_->connect(session);
    ssl_ = ssl.get();
    stream_.emplace(typename Stream::Origin{std::move(socket), std::move(ssl)});
  } else {
    stream_.emplace(std::move(socket));
  }
}

template <class Stream>
void Connection<Stream>::close() {
  if (stream_) stream_->close();
}

template <class Stream>
net::Awaitable Connection<Stream>::shake_hands() {
  if constexpr (kIsTls<Stream>) {
    std::error_code error;
    co_await stream_->handshake(error);
    if (error) {
      throw std::runtime_error("TLS handshake with " + address(options_) +
                               " failed: " + why(error));
    }
  }
  co_return;
}

template <class Stream>
net::AwaitableOf<Reply> Connection<Stream>::ask(std::string_view request) {
  std::error_code error;
  co_await stream_->async_write(asio::buffer(request), error);
  while (!error || error == asio::error::would_block) {
    if (const auto reply = input_.next()) co_return *reply;
    check_input();
    const std::span<char> space = input_.space();
    if (space.empty()) throw std::runtime_error(address(options_) + " answered at great length");
    input_.commit(co_await stream_->async_read_some(space, error));
  }
  if (error == asio::error::eof) {
    throw std::runtime_error(address(options_) + " closed the connection");
  }
  throw std::runtime_error("connection to " + address(options_) + " lost: " + error.message());
}

template <class Stream>
net::Awaitable Connection<Stream>::authenticate() {
  const std::string request = "auth\n_\n" + *options_.auth_token + "\n";
  const Reply reply = co_await ask(request);
  if (reply.text == "ok") co_return;
  if (reply.text == "error_auth")
    throw std::runtime_error(address(options_) + " refused the secret");
  throw std::runtime_error(address(options_) + " answered auth with \"" + printable(reply.text) +
                           "\"; does it have a secret?");
}

template <class Stream>
net::Awaitable Connection<Stream>::ping() {
  const Reply reply = co_await ask("ping\n_\n_\n");
  if (reply.text != "ok") {
    throw std::runtime_error(address(options_) + " answered ping with \"" + printable(reply.text) +
                             "\"");
  }
}

template <class Stream>
net::AwaitableOf<std::string> Connection<Stream>::open_session() {
  constexpr std::string_view kBeforeId = R"({"session_id":")";
  constexpr std::size_t kIdSize = 32;
  const std::string request = http_request(options_, "POST", "/v1/sessions", "", "");
  const Reply reply = co_await ask(request);
  if (reply.status == 401 && options_.auth_token) {
    throw std::runtime_error(address(options_) + " refused the secret");
  }
  if (reply.status == 200 && reply.text.starts_with(kBeforeId)) {
    const std::string_view id = reply.text.substr(kBeforeId.size(), kIdSize);
    if (id.find('"') == std::string_view::npos) co_return std::string(id);
  }
  throw std::runtime_error(address(options_) + " answered POST /v1/sessions with \"" +
                           printable(to_text(reply)) + "\"");
}

template <class Stream>
net::Awaitable Connection<Stream>::say_goodbye() {
  std::error_code error;
  std::array<char, 64> ignored{};
  stream_->end_sending();
  while (!error || error == asio::error::would_block) {
    co_await stream_->async_read_some(ignored, error);
  }
  if (error != asio::error::eof) {
    throw std::runtime_error(address(options_) +
                             " broke off after the TLS handshake: " + why(error));
  }
}

template <class Stream>
void Connection<Stream>::check_input() const {
  if (!input_.is_broken()) return;
  throw std::runtime_error(address(options_) + " does not speak HTTP/1.1: it answered \"" +
                           printable(input_.unread()) + "\"");
}

template <class Stream>
std::string Connection<Stream>::why(const std::error_code& error) const {
  const auto code = static_cast<unsigned long>(static_cast<unsigned int>(error.value()));
  if (error == asio::error::eof || (error.category() == asio::error::get_ssl_category() &&
                                    ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
    return "the server closed the connection";
  }
  const long result = ssl_ == nullptr ? X509_V_OK : SSL_get_verify_result(ssl_);
  if (result != X509_V_OK && !options_.tls_insecure) {
    return std::string("its certificate is not trusted: ") + X509_verify_cert_error_string(result);
  }
  return net::TlsStream::why(error);
}

template <class Stream>
TlsAgreement Connection<Stream>::agreed() const {
  if (ssl_ == nullptr) return {};
  return {.version = SSL_get_version(ssl_), .cipher = SSL_get_cipher_name(ssl_)};
}

template <class Stream>
TlsSession Connection<Stream>::session() const {
  TlsSession session(SSL_get1_session(ssl_));
  if (session != nullptr && SSL_SESSION_is_resumable(session.get()) != 1) session.reset();
  return session;
}

template class Connection<net::PlainStream>;
template class Connection<net::TlsStream>;

}  // namespace dflockd::bench
