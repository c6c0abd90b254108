// Clients that are not ours: what other people's TLS makes of the server.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

// "a person with nc", whose nc speaks TLS.
TEST(OpensslClient, acquires_renews_and_releases) {
  const TlsServer server;
  const std::string authority = server.directory.write("ca.crt", server.authority.pem());
  for (const char* version : {"-tls1_2", "-tls1_3"}) {
    SCOPED_TRACE(version);
    Process client({.flags = {"openssl", "s_client", version, "-quiet", "-verify_return_error",
                              "-CAfile", authority, "-verify_hostname", "localhost", "-connect",
                              "127.0.0.1:" + std::to_string(server.port())},
                    .program = "/usr/bin/env",
                    .takes_input = true});
    client.type(request_bytes("l", "job", "0 44"));
    const auto reply = client.wait_for_output_line("ok ");
    ASSERT_TRUE(reply) << client.log();
    const Grant grant = granted(*reply);
    EXPECT_EQ(grant.lease, 44);
    client.type(request_bytes("n", "job", grant.token + " 55"));
    EXPECT_TRUE(client.wait_for_output_line("ok 55")) << client.log();
    client.type(request_bytes("r", "job", grant.token) + request_bytes("r", "job", grant.token));
    EXPECT_TRUE(client.wait_for_output_line("error")) << client.log();
    EXPECT_EQ(client.output(), *reply + "\nok 55\nok\nerror\n");
  }
}

TEST(PythonClient, acquires_renews_and_releases) {
  constexpr const char* kScript = R"(
import socket, ssl, sys
port, authority, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=authority)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
with socket.create_connection(("127.0.0.1", port), timeout=15) as plain:
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        replies = connection.makefile("r")
        def ask(*lines):
            connection.sendall(("\n".join(lines) + "\n").encode())
            return replies.readline().split()
        status, token, lease = ask("l", "job", "0 44")
        assert (status, lease) == ("ok", "44")
        assert ask("n", "job", token + " 55") == ["ok", "55"]
        assert ask("r", "job", token) == ["ok"]
        assert ask("r", "job", token) == ["error"]
        print(connection.version())
        connection.unwrap()  # says goodbye, and waits for the server's
)";
  const TlsServer server;
  const std::string authority = server.directory.write("ca.crt", server.authority.pem());
  for (const auto& [name, version] :
       {std::pair("TLSv1_2", "TLSv1.2\n"), std::pair("TLSv1_3", "TLSv1.3\n")}) {
    Process client(
        {.flags = {"python3", "-c", kScript, std::to_string(server.port()), authority, name},
         .program = "/usr/bin/env"});
    EXPECT_EQ(client.wait_for_exit(), 0) << client.log();
    EXPECT_EQ(client.output(), version);
  }
}

}  // namespace

}  // namespace dflockd::test
