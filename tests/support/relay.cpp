#include "support/relay.hpp"

#include <array>
#include <future>
#include <list>
#include <thread>

#include <sys/socket.h>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>

namespace dflockd::client_test {
namespace {

using asio::ip::tcp;

void reset(tcp::socket& socket) {
  std::error_code ignored;
  socket.set_option(tcp::socket::linger(true, 0), ignored);
  socket.close(ignored);
}

}  // namespace

class Relay::Impl {
 public:
  explicit Impl(std::uint16_t port) : port_(port) {
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Impl() {
    io_.stop();
    thread_.join();
  }

  /// Runs `work` on the relay's thread, and waits for it.
  template <class Work>
  void run(Work work) {
    std::promise<void> done;
    asio::post(io_, [&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  void lead_to(std::uint16_t port) { port_ = port; }
  void refuse(bool refused) { refused_ = refused; }
  void reset_all(bool servers_too) {
    for (const auto& pair : pairs_) {
      reset(pair->client);
      if (servers_too) reset(pair->server);
    }
  }
  void freeze_present() {
    for (const auto& pair : pairs_) pair->frozen = true;
  }
  void freeze(bool frozen) {
    frozen_ = frozen;
    if (frozen) return;
    for (const auto& pair : pairs_) {
      if (std::exchange(pair->from_client.waits, false)) pass(pair, true);
      if (std::exchange(pair->from_server.waits, false)) pass(pair, false);
    }
    if (std::exchange(accept_waits_, false)) accept();
  }

  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  [[nodiscard]] std::size_t accepted() const { return accepted_; }

 private:
  struct Direction {
    std::array<char, 16'384> bytes{};
    bool waits = false;  ///< for the thaw
  };
  struct Pair {
    explicit Pair(asio::io_context& io) : client(io), server(io) {}
    tcp::socket client;
    tcp::socket server;
    bool frozen = false;  ///< for ever
    Direction from_client;
    Direction from_server;
  };

  void accept() {
    auto pair = std::make_shared<Pair>(io_);
    acceptor_.async_accept(pair->client, [this, pair](std::error_code error) {
      if (error) return;
      ++accepted_;
      std::error_code lost;
      if (!refused_) pair->server.connect({asio::ip::address_v4::loopback(), port_}, lost);
      if (refused_ || lost) {
        reset(pair->client);
      } else {
        pairs_.push_back(pair);
        pass(pair, true);
        pass(pair, false);
      }
      if (frozen_) {
        accept_waits_ = true;
      } else {
        accept();
      }
    });
  }

  void pass(const std::shared_ptr<Pair>& pair, bool from_client) {
    Direction& direction = from_client ? pair->from_client : pair->from_server;
    tcp::socket& source = from_client ? pair->client : pair->server;
    tcp::socket& sink = from_client ? pair->server : pair->client;
    if (frozen_) {
      direction.waits = true;
      return;
    }
    source.async_wait(
        tcp::socket::wait_read, [=, this, &direction, &source, &sink](std::error_code error) {
          if (error) return;
          if (pair->frozen) return;
          if (frozen_) {
            direction.waits = true;
            return;
          }
          std::error_code ended;
          const std::size_t size = source.read_some(asio::buffer(direction.bytes), ended);
          if (ended) {
            std::error_code ignored;
            sink.shutdown(tcp::socket::shutdown_send, ignored);
            return;
          }
          asio::write(sink, asio::buffer(direction.bytes, size), ended);
          pass(pair, from_client);
        });
  }

  asio::io_context io_;
  tcp::acceptor acceptor_{io_, {asio::ip::address_v4::loopback(), 0}};
  std::list<std::shared_ptr<Pair>> pairs_;
  std::uint16_t port_;
  bool frozen_ = false;
  bool accept_waits_ = false;
  bool refused_ = false;
  std::atomic<std::size_t> accepted_ = 0;
  std::thread thread_;
};

Relay::Relay(std::uint16_t port) : impl_(std::make_unique<Impl>(port)) {}
Relay::~Relay() = default;

std::string Relay::address() const {
  return "127.0.0.1:" + std::to_string(port());
}

std::uint16_t Relay::port() const {
  return impl_->port();
}

void Relay::lead_to(std::uint16_t port) {
  impl_->run([&] { impl_->lead_to(port); });
}

void Relay::reset_all() {
  impl_->run([&] { impl_->reset_all(true); });
}

void Relay::reset_clients() {
  impl_->run([&] { impl_->reset_all(false); });
}

void Relay::freeze() {
  impl_->run([&] { impl_->freeze(true); });
}

void Relay::freeze_present() {
  impl_->run([&] { impl_->freeze_present(); });
}

void Relay::thaw() {
  impl_->run([&] { impl_->freeze(false); });
}

void Relay::refuse(bool refused) {
  impl_->run([&] { impl_->refuse(refused); });
}

std::size_t Relay::accepted() const {
  return impl_->accepted();
}

}  // namespace dflockd::client_test
