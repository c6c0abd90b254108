// How many system calls a reception costs: `recv` is counted on its way to the C library.

#include "net/receive_buffer.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>
#include <gtest/gtest.h>

#include "net/net.hpp"
#include "net/plain_stream.hpp"

namespace {

int calls = 0;

}  // namespace

extern "C" ssize_t recv(int socket, void* data, std::size_t size, int flags) {
  ++calls;
  return ::syscall(SYS_recvfrom, socket, data, size, flags, nullptr, nullptr);
}

namespace dflockd::net {

namespace {

net::Awaitable receive(PlainStream& stream, std::string& received, std::error_code& error) {
  std::array<char, 256> space;
  received.assign(space.data(), co_await stream.async_read_some(space, error));
}

TEST(ReceiveBufferTest, short_read_costs_one_system_call) {
  asio::io_context io(ASIO_CONCURRENCY_HINT_UNSAFE);
  net::Acceptor acceptor(io.get_executor(), {asio::ip::address_v4::loopback(), 0});
  net::Socket peer(io.get_executor());
  peer.connect(acceptor.local_endpoint());
  net::Socket accepted = acceptor.accept();
  accepted.non_blocking(true);
  PlainStream stream(std::move(accepted));

  std::string received;
  std::error_code error;
  for (int round = 0; round < 3; ++round) {
    calls = 0;
    net::spawn(io, receive(stream, received, error));
    io.restart();
    io.poll();  // it waits
    asio::write(peer, asio::buffer("ping\n", 5));
    io.run();
    EXPECT_EQ(received, "ping\n");
    EXPECT_FALSE(error);
    // The first reception tries its luck before it waits.
    EXPECT_EQ(calls, round == 0 ? 2 : 1) << "in round " << round << " with asio " << ASIO_VERSION;
  }
}

}  // namespace

}  // namespace dflockd::net
