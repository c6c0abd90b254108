// Starting with TLS: what is said of files that cannot be used, by --check-config too.

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

class TlsFilesAtStart : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const char* name) const { return directory_ / name; }

  /// Starting with these flags must end in exactly this line, and so must --check-config.
  static void expect_refusal(const std::vector<std::string>& flags, const std::string& line) {
    for (const bool check : {false, true}) {
      Launch launch{.flags = flags};
      launch.flags.insert(launch.flags.end(), {"--port", "0"});
      if (check) launch.flags.emplace_back("--check-config");
      Process process(launch);
      EXPECT_EQ(process.wait_for_exit(), 2);
      EXPECT_EQ(process.log(), "dflockd: " + line + "\n");
      EXPECT_EQ(process.output(), "");
    }
  }

  [[nodiscard]] std::vector<std::string> with_certificate(const std::string& certificate) const {
    return {"--tls-cert", certificate, "--tls-key", files_.key};
  }
  [[nodiscard]] std::vector<std::string> with_key(const std::string& key) const {
    return {"--tls-cert", files_.certificate, "--tls-key", key};
  }
  [[nodiscard]] std::vector<std::string> with_client_ca(const std::string& authority) const {
    return {"--tls-cert", files_.certificate, "--tls-key",
            files_.key,   "--tls-client-ca",  authority};
  }

  TemporaryDirectory directory_;
  Authority authority_;
  Identity identity_ = authority_.issue();
  IdentityFiles files_ = directory_.write("server", identity_);
};

TEST_F(TlsFilesAtStart, that_are_missing_are_named_with_their_flags) {
  const std::string missing = path("missing.pem");
  const std::string what = "cannot read \"" + missing + "\": No such file or directory";
  expect_refusal(with_certificate(missing), what + " (--tls-cert)");
  expect_refusal(with_key(missing), what + " (--tls-key)");
  expect_refusal(with_client_ca(missing), what + " (--tls-client-ca)");
}

TEST_F(TlsFilesAtStart, that_are_no_files_are_refused_without_waiting) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(path("directory"));
  for (const auto& [name, why] :
       {std::pair("fifo", "it is not a regular file"), std::pair("directory", "Is a directory")}) {
    const std::string what = "cannot read \"" + path(name) + "\": " + why;
    expect_refusal(with_certificate(path(name)), what + " (--tls-cert)");
    expect_refusal(with_key(path(name)), what + " (--tls-key)");
    expect_refusal(with_client_ca(path(name)), what + " (--tls-client-ca)");
  }
}

TEST_F(TlsFilesAtStart, that_are_empty_or_no_pem_are_refused) {
  for (const char* content : {"", "nothing of the kind\n"}) {
    SCOPED_TRACE(content);
    const std::string file = directory_.write("other.pem", content);
    const std::string before = "cannot use \"" + file + "\": no ";
    const std::string no_certificate = before + "certificate in PEM format is in it";
    expect_refusal(with_certificate(file), no_certificate + " (--tls-cert)");
    expect_refusal(with_key(file), before + "private key in PEM format is in it (--tls-key)");
    expect_refusal(with_client_ca(file), no_certificate + " (--tls-client-ca)");
  }
}

TEST_F(TlsFilesAtStart, key_of_another_certificate_is_refused) {
  const IdentityFiles other = directory_.write("other", authority_.issue());
  expect_refusal(with_key(other.key), "cannot use \"" + other.key +
                                          "\": it is not the key of the certificate (--tls-key)");
}

TEST_F(TlsFilesAtStart, encrypted_key_is_refused) {
  const std::string key = directory_.write("encrypted.key", identity_.encrypted_key_pem("secret"));
  expect_refusal(with_key(key),
                 "cannot use \"" + key +
                     "\": it is encrypted; expected a key without a passphrase (--tls-key)");
}

// OpenSSL would ask the terminal for the passphrase, and wait.
TEST_F(TlsFilesAtStart, encrypted_key_asks_no_terminal_for_its_passphrase) {
  const std::string key = directory_.write("encrypted.key", identity_.encrypted_key_pem("secret"));
  const std::string command =
      binary() + " --port 0 --tls-cert " + files_.certificate + " --tls-key " + key;
  Process process({.flags = {"script", "--quiet", "--return", "--command", command, "/dev/null"},
                   .program = "/usr/bin/env"});
  EXPECT_EQ(process.wait_for_exit(), 2);
  EXPECT_EQ(process.output(), "dflockd: cannot use \"" + key +
                                  "\": it is encrypted; expected a key without a passphrase "
                                  "(--tls-key)\r\n");
}

TEST_F(TlsFilesAtStart, from_the_environment_are_named_by_their_variables) {
  Process process({.environment = {{"DFLOCKD_TLS_CERT", path("missing.pem")},
                                   {"DFLOCKD_TLS_KEY", files_.key}}});
  EXPECT_EQ(process.wait_for_exit(), 2);
  EXPECT_EQ(process.log(), "dflockd: cannot read \"" + path("missing.pem") +
                               "\": No such file or directory (DFLOCKD_TLS_CERT)\n");
}

TEST_F(TlsFilesAtStart, certificate_or_key_alone_is_refused) {
  for (const char* flag : {"--tls-cert", "--tls-key"}) {
    Process process({.flags = {flag, path("server.crt")}});
    EXPECT_EQ(process.wait_for_exit(), 2);
    EXPECT_NE(process.log().find(flag), std::string::npos) << process.log();
  }
}

TEST_F(TlsFilesAtStart, good_ones_pass_the_check_and_show_no_key) {
  std::vector<std::string> flags = with_client_ca(files_.certificate);
  flags.emplace_back("--check-config");
  Process process({.flags = flags});
  EXPECT_EQ(process.wait_for_exit(), 0);
  EXPECT_NE(process.output().find("tls-cert = \"" + files_.certificate + "\""),
            std::string::npos)
      << process.output();
  EXPECT_EQ(process.log(), "");
}

TEST_F(TlsFilesAtStart, expired_certificate_is_a_warning_of_the_check_too) {
  const IdentityFiles expired =
      directory_.write("expired", authority_.issue({.valid_until = std::chrono::minutes(-1)}));
  Process process(
      {.flags = {"--check-config", "--tls-cert", expired.certificate, "--tls-key", expired.key}});
  EXPECT_EQ(process.wait_for_exit(), 0);
  EXPECT_NE(process.output().find("expired.crt' has expired: it was valid until 20"),
            std::string::npos)
      << process.output();
}

TEST_F(TlsFilesAtStart, certificate_is_told_in_the_log) {
  const Server server(with_certificate(files_.certificate));
  const auto line = server.wait_for_log_line("info tls_certificate");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(line->find("subject=\"CN=server\""), std::string::npos) << *line;
  EXPECT_NE(line->find("sha256=" + fingerprint(identity_.certificate.get())), std::string::npos)
      << *line;
  EXPECT_TRUE(server.wait_for_log_line(" tls=true")) << server.log();
}

}  // namespace

}  // namespace dflockd::test
