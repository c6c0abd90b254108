// Starting with TLS: what is said of files that cannot be used, by --check-config too.

#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

class TlsFilesAtStart : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ / name; }

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

  /// Good files, but for those named.
  [[nodiscard]] std::vector<std::string> flags(
      const std::map<std::string, std::string>& others) const {
    std::map<std::string, std::string> all = others;
    all.insert({{"--tls-cert", files_.certificate}, {"--tls-key", files_.key}});
    std::vector<std::string> flags;
    for (const auto& [flag, file] : all) flags.insert(flags.end(), {flag, file});
    return flags;
  }

  /// The file in the place of each of the three must be refused with these words.
  void expect_refusal_everywhere(const std::string& name, const std::string& why) const {
    for (const std::string flag : {"--tls-cert", "--tls-key", "--tls-client-ca"}) {
      SCOPED_TRACE(flag + " " + name);
      const std::string no_pem = flag == "--tls-key" ? "no private key in PEM format is in it"
                                                     : "no certificate in PEM format is in it";
      const std::string complaint = why.empty() ? "cannot use \"" + path(name) + "\": " + no_pem
                                                : "cannot read \"" + path(name) + "\": " + why;
      expect_refusal(flags({{flag, path(name)}}), complaint + " (" + flag + ")");
    }
  }

  TemporaryDirectory directory_;
  Authority authority_;
  Identity identity_ = authority_.issue();
  IdentityFiles files_ = directory_.write("server", identity_);
};

TEST_F(TlsFilesAtStart, that_cannot_be_used_are_named_with_their_flags_and_not_waited_for) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(path("directory"));
  directory_.write("empty.pem", "");
  directory_.write("other.pem", "nothing of the kind\n");
  for (const auto& [name, why] :
       {std::pair("missing.pem", "No such file or directory"),
        std::pair("fifo", "it is not a regular file"), std::pair("directory", "Is a directory"),
        std::pair("empty.pem", ""), std::pair("other.pem", "")}) {
    expect_refusal_everywhere(name, why);
  }
}

TEST_F(TlsFilesAtStart, key_of_another_certificate_is_refused) {
  const IdentityFiles other = directory_.write("other", authority_.issue());
  expect_refusal(
      flags({{"--tls-key", other.key}}),
      "cannot use \"" + other.key + "\": it is not the key of the certificate (--tls-key)");
}

TEST_F(TlsFilesAtStart, encrypted_key_is_refused) {
  const std::string key = directory_.write("encrypted.key", identity_.encrypted_key_pem("secret"));
  expect_refusal(flags({{"--tls-key", key}}),
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
  std::vector<std::string> checked = flags({{"--tls-client-ca", files_.certificate}});
  checked.emplace_back("--check-config");
  Process process({.flags = checked});
  EXPECT_EQ(process.wait_for_exit(), 0);
  EXPECT_NE(process.output().find("tls-cert = \"" + files_.certificate + "\""), std::string::npos)
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
  const Server server(flags({}));
  const auto line = server.wait_for_log_line("info tls_certificate");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(line->find("subject=\"CN=server\""), std::string::npos) << *line;
  EXPECT_NE(line->find("sha256=" + fingerprint(identity_.certificate.get())), std::string::npos)
      << *line;
  EXPECT_TRUE(server.wait_for_log_line(" tls=true")) << server.log();
}

}  // namespace

}  // namespace dflockd::test
