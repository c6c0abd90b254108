// The machinery of dflockd/asio.hpp. For the library's own headers; programs have no use for it,
// and it may change with any version. All of a session runs on its strand.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read_until.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/write.hpp>
#include <dflockd/detail/transport.hpp>
#include <dflockd/detail/wire.hpp>
#include <dflockd/error.hpp>
#include <dflockd/options.hpp>

namespace dflockd::detail {

/// As long as the line that `stats` answers may be.
inline constexpr std::size_t kLongestStats = std::size_t{1} << 30U;

/// What to send, and what to expect.
struct AsyncRequest {
  std::chrono::seconds timeout{0};  ///< how long the server is asked to wait
  std::size_t longest = kLongestAnswer;
  std::string text{};
  std::error_code refused{};  ///< not to be sent at all
};

/// Reads the line that answers a request, as the functions of wire.hpp do.
template <class Value>
using ReadAnswer = std::error_code (*)(std::string_view line, Value& value);

/// What a handler gets besides the error.
template <class Value>
struct Answer {
  using Signature = void(std::error_code, Value);

  template <class Handler>
  void deliver(Handler&& handler, std::error_code error) {
    std::forward<Handler>(handler)(error, std::move(value));
  }
  ReadAnswer<Value> read;
  Value value{};
};

/// Nothing.
template <>
struct Answer<std::monostate> {
  using Signature = void(std::error_code);

  template <class Handler>
  void deliver(Handler&& handler, std::error_code error) {
    std::forward<Handler>(handler)(error);
  }
  ReadAnswer<std::monostate> read;
  std::monostate value{};
};

/// An operation that is waited for.
class Pending {
 public:
  Pending() = default;
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;
  virtual ~Pending() = default;

  /// What the line that was answered means.
  virtual std::error_code read(std::string_view line) = 0;
  /// Passes the result on. Only once.
  virtual void complete(std::error_code error) = 0;
};

template <class Value, class Handler>
class PendingHandler : public Pending {
 public:
  PendingHandler(Answer<Value> answer, Handler handler, const asio::any_io_executor& fallback)
      : delivery_{.answer = std::move(answer),
                  .work = Work(asio::get_associated_executor(handler, fallback)),
                  .handler = std::move(handler)} {}

  std::error_code read(std::string_view line) override {
    return delivery_.answer.read(line, delivery_.answer.value);
  }

  void complete(std::error_code error) override {
    delivery_.error = error;
    const auto executor = delivery_.work.get_executor();
    asio::dispatch(executor, std::move(delivery_));
  }

 private:
  using Executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
  using Work = asio::executor_work_guard<Executor>;

  /// What runs where the handler wants to run.
  struct Delivery {
    using allocator_type = asio::associated_allocator_t<Handler>;
    [[nodiscard]] allocator_type get_allocator() const noexcept {
      return asio::get_associated_allocator(handler);
    }

    void operator()() {
      auto slot = asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected()) slot.clear();
      work.reset();
      answer.deliver(std::move(handler), error);
    }

    Answer<Value> answer;
    Work work;
    Handler handler;
    std::error_code error{};
  };

  Delivery delivery_;
};

/// Finds where a line ends, for asio::async_read_until, and notes each piece of one that has come.
class LineEnd {
 public:
  using result_type = void;  // which tells asio that this is a condition

  explicit LineEnd(ssl_st* ssl) noexcept : ssl_(ssl) {}

  template <class Iterator>
  std::pair<Iterator, bool> operator()(Iterator begin, Iterator end) const {
    if (ssl_ != nullptr && begin != end) note_data(ssl_);
    const Iterator found = std::find(begin, end, '\n');
    return found == end ? std::pair(end, false) : std::pair(std::next(found), true);
  }

 private:
  ssl_st* ssl_;
};

/// A TCP connection, or a TLS connection over it. The handlers of what is under way share it with
/// the session, which may have given it up.
class Link {
 public:
  using Socket = asio::ip::tcp::socket;

  explicit Link(const asio::any_io_executor& strand)
      : resolver_(strand), share_(strand), socket_(strand) {}

  /// Gets ready to speak TLS; reads the files.
  void prepare(const TlsOptions& options, const std::string& host, std::error_code& error) {
    context_.emplace(asio::ssl::context::tls_client);
    error = prepare_tls(context_->native_handle(), options, host);
    if (error) return;
    tls_.emplace(socket_, *context_);
    error = announce_name(tls_->native_handle(), options, host);
  }

  /// Calls `call` with what to read from and write to.
  template <class Call>
  void with_stream(const Call& call) {
    if (tls_) {
      call(*tls_);
    } else {
      call(socket_);
    }
  }

  /// Whether the server has ended the connection, or said something unasked, which is its farewell.
  [[nodiscard]] bool is_over() {
    if (!received_.empty()) return true;
    // Before the first answer there may be what TLS says on its own, such as tickets.
    if (tls_ && !answered_) return false;
    std::error_code error;
    return socket_.available(error) > 0 || error;
  }

  /// Ends what is under way.
  void close() noexcept {
    resolver_.cancel();  // its handler waits for getaddrinfo(3) nevertheless
    share_.cancel();
    std::error_code ignored;
    socket_.close(ignored);
  }

  asio::ip::tcp::resolver& resolver() noexcept { return resolver_; }
  asio::steady_timer& share() noexcept { return share_; }
  Socket& socket() noexcept { return socket_; }
  std::optional<asio::ssl::stream<Socket&>>& tls() noexcept { return tls_; }

  std::string& request() noexcept { return request_; }
  std::string& received() noexcept { return received_; }
  /// Takes the first line of what was received, `size` bytes with its line end.
  std::string take_line(std::size_t size) {
    std::string line = received_.substr(0, size - 1);
    received_.erase(0, size);
    answered_ = true;
    return line;
  }

 private:
  asio::ip::tcp::resolver resolver_;
  asio::steady_timer share_;
  std::optional<asio::ssl::context> context_;
  Socket socket_;
  std::optional<asio::ssl::stream<Socket&>> tls_;
  std::string request_;
  std::string received_;
  bool answered_ = false;
};

/// What an `AsyncConnection` shares with its operations.
class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(const asio::any_io_executor& executor)
      : executor_(executor), strand_(asio::make_strand(executor)), timer_(strand_) {}

  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

  /// Runs `call` later, on the strand. From any thread.
  template <class Call>
  void later(Call&& call) const {
    asio::post(strand_, std::forward<Call>(call));
  }

  /// See `AsyncConnection::close`. From any thread.
  static void close(const std::shared_ptr<Session>& session) noexcept {
    try {
      session->later([session] {
        if (session->running_ != nullptr) {
          session->give_up(errc::canceled);
        } else {
          session->close_link();
        }
      });
    } catch (const std::exception&) {
      // Without memory it is closed when the last operation, and so the session, ends.
    }
  }

  void cancel(const std::shared_ptr<Pending>& pending) {
    if (pending != nullptr && running_ == pending) give_up(errc::canceled);
  }

  void start(std::shared_ptr<Pending> pending, AsyncRequest request) {
    if (!admit(std::move(pending))) return;
    if (request.refused) return finish(request.refused);
    if (link_ == nullptr) return finish(errc::connection);
    if (link_->is_over()) return give_up(errc::connection);
    limit(request.timeout, response_timeout_);
    exchange(std::move(request.text), request.longest, &Session::read_answer);
  }

  void start(std::shared_ptr<Pending> pending, ConnectionOptions options) {
    if (!admit(std::move(pending))) return;
    Endpoint endpoint;
    try {
      endpoint = check_options(options);
    } catch (const Error& error) {
      return finish(error.code());
    }
    close_link();
    link_ = std::make_shared<Link>(strand_);
    limit(std::chrono::seconds(0), options.connect_timeout);
    response_timeout_ = options.response_timeout;
    secret_ = std::move(options.auth_token);
    if (options.tls) {
      std::error_code error;
      link_->prepare(*options.tls, endpoint.host, error);
      if (error) return give_up(errc::tls);
    }
    resolve(endpoint);
  }

 private:
  using Results = asio::ip::tcp::resolver::results_type;
  using Step = void (Session::*)(const std::string& line);

  /// False: another operation is under way.
  bool admit(std::shared_ptr<Pending> pending) {
    assert(running_ == nullptr && "one operation at a time");
    if (running_ != nullptr) {
      pending->complete(errc::invalid_argument);
      return false;
    }
    running_ = std::move(pending);
    return true;
  }

  // Each is the last thing that its caller does: the handler may begin the next operation.

  void finish(std::error_code error) {
    timer_.cancel();
    std::exchange(running_, nullptr)->complete(error);
  }

  void give_up(errc error) {
    close_link();
    finish(error);
  }

  void close_link() noexcept {
    if (const auto link = std::exchange(link_, nullptr)) link->close();
  }

  /// Gives the operation up after `wait` and `patience`.
  void limit(std::chrono::seconds wait, std::chrono::milliseconds patience) {
    constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365 * 100);
    timer_.expires_after(std::min<std::chrono::milliseconds>(
                             std::min<std::chrono::seconds>(
                                 wait, std::chrono::duration_cast<std::chrono::seconds>(kLongest)),
                             kLongest) +
                         std::min(patience, kLongest));
    timer_.async_wait([session = weak_from_this(),
                       pending = std::weak_ptr(running_)](const std::error_code& replaced) {
      const auto self = session.lock();
      if (replaced || self == nullptr || self->running_ == nullptr) return;
      if (self->running_ == pending.lock()) self->give_up(errc::connection);
    });
  }

  /// What `error` of a stream is to the caller.
  static errc meaning(const std::error_code& error) {
    if (error == asio::ssl::error::stream_truncated) return errc::connection;
    const bool by_tls = error.category() == asio::error::get_ssl_category() ||
                        error.category() == asio::ssl::error::get_stream_category();
    return by_tls ? errc::tls : errc::connection;
  }

  /// `next` as the handler of an operation of the link, called unless that was given up.
  template <class Next>
  auto unless_given_up(Next next) {
    return [self = shared_from_this(), link = link_, next](const std::error_code& error,
                                                           const auto&... result) {
      if (self->link_ == link) (self.get()->*next)(error, result...);
    };
  }

  void resolve(const Endpoint& endpoint) {
    std::error_code no_address;
    const auto address = asio::ip::make_address(endpoint.host, no_address);
    if (!no_address) {  // needs no thread to look it up
      const auto port = static_cast<asio::ip::port_type>(std::stoi(endpoint.port));
      return connect(Results::create({address, port}, endpoint.host, endpoint.port));
    }
    link_->resolver().async_resolve(endpoint.host, endpoint.port,
                                    asio::ip::resolver_base::numeric_service,
                                    unless_given_up(&Session::resolved));
  }

  void resolved(const std::error_code& error, const Results& results) {
    if (error) return give_up(errc::connection);
    connect(results);
  }

  /// Tries the addresses one after the other.
  void connect(const Results& results) {
    results_ = results;
    next_ = results_.begin();
    connect_next();
  }

  void connect_next() {
    if (next_ == results_.end()) return give_up(errc::connection);
    if (std::next(next_) != results_.end()) limit_attempt();
    std::error_code ignored;
    link_->socket().close(ignored);
    const asio::ip::tcp::endpoint address = (next_++)->endpoint();
    const int opened = open_socket(address.protocol().family());
    if (opened < 0) return connect_next();
    link_->socket().assign(address.protocol(), opened, ignored);
    link_->socket().async_connect(address, unless_given_up(&Session::connected));
  }

  /// An address that does not answer leaves time for the others.
  void limit_attempt() {
    using Time = asio::steady_timer::time_point;
    const auto left = timer_.expiry() - Time::clock::now();
    link_->share().expires_after(left / std::distance(next_, results_.end()));
    link_->share().async_wait([link = link_](const std::error_code& replaced) {
      if (replaced || link->share().expiry() > Time::clock::now()) return;
      std::error_code ignored;
      link->socket().close(ignored);
    });
  }

  void connected(const std::error_code& error) {
    link_->share().expires_at(asio::steady_timer::time_point::max());  // also if it is over already
    if (error || !link_->socket().is_open()) return connect_next();
    results_ = {};
    if (!link_->tls()) return authenticate();
    link_->tls()->async_handshake(asio::ssl::stream_base::client,
                                  unless_given_up(&Session::shaken_hands));
  }

  void shaken_hands(const std::error_code& error) {
    if (error) return give_up(meaning(error));
    authenticate();
  }

  void authenticate() {
    if (secret_.empty()) return finish({});
    std::string request;
    append_auth(request, std::exchange(secret_, {}));
    exchange(std::move(request), kLongestAnswer, &Session::read_verdict);
  }

  void read_verdict(const std::string& line) {
    const std::error_code error = read_ok(line);
    if (!error) return finish({});
    // A server without a secret does not know the command.
    give_up(error == errc::auth || line == "error" ? errc::auth : errc::protocol);
  }

  void read_farewell(const std::string& line) {
    give_up(read_ok(line) == errc::auth ? errc::auth : errc::connection);
  }

  void read_answer(const std::string& line) {
    const std::error_code error = running_->read(line);
    if (error == errc::protocol || error == errc::auth) {
      give_up(static_cast<errc>(error.value()));
    } else {
      finish(error);
    }
  }

  /// Sends `request`, and passes the line that answers it to `next`.
  void exchange(std::string request, std::size_t longest, Step next) {
    next_step_ = next;
    longest_ = longest;
    link_->request() = std::move(request);
    link_->with_stream([this](auto& stream) {
      asio::async_write(stream, asio::buffer(link_->request()), unless_given_up(&Session::sent));
    });
  }

  void sent(const std::error_code& error, std::size_t /*size*/) {
    // A server that hangs up may have said why: that it refuses the certificate, or the secret.
    if (error) next_step_ = &Session::read_farewell;
    const LineEnd line_end(link_->tls() ? link_->tls()->native_handle() : nullptr);
    link_->with_stream([this, &line_end](auto& stream) {
      asio::async_read_until(stream, asio::dynamic_buffer(link_->received(), longest_ + 1),
                             line_end, unless_given_up(&Session::received));
    });
  }

  void received(const std::error_code& error, std::size_t size) {
    if (error == asio::error::not_found) return give_up(errc::protocol);  // too long
    if (error) {
      const bool wants_tls = !link_->tls() && is_tls_alert(link_->received());
      return give_up(wants_tls ? errc::tls : meaning(error));
    }
    (this->*next_step_)(link_->take_line(size));
  }

  const asio::any_io_executor executor_;
  const asio::strand<asio::any_io_executor> strand_;
  asio::steady_timer timer_;
  std::shared_ptr<Pending> running_;
  std::shared_ptr<Link> link_;  ///< null: not connected
  std::chrono::milliseconds response_timeout_{0};
  std::string secret_;
  Results results_;
  Results::const_iterator next_;
  Step next_step_ = nullptr;
  std::size_t longest_ = 0;
};

/// Begins an operation: has the session start what is `wanted`, later.
template <class Value, class Handler, class Wanted>
void begin(const std::shared_ptr<Session>& session, Answer<Value> answer, Handler handler,
           Wanted wanted) {
  auto slot = asio::get_associated_cancellation_slot(handler);
  std::shared_ptr<Pending> pending = std::make_shared<PendingHandler<Value, Handler>>(
      std::move(answer), std::move(handler), session->executor());
  if (slot.is_connected()) {
    slot.assign([weak_session = std::weak_ptr(session),
                 weak_pending = std::weak_ptr(pending)](asio::cancellation_type type) {
      const auto owner = weak_session.lock();
      if (owner == nullptr) return;
      if ((type & asio::cancellation_type::terminal) == asio::cancellation_type::none) return;
      owner->later([owner, weak_pending] { owner->cancel(weak_pending.lock()); });
    });
  }
  session->later([session, pending = std::move(pending), wanted = std::move(wanted)]() mutable {
    session->start(std::move(pending), std::move(wanted));
  });
}

}  // namespace dflockd::detail
