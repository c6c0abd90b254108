// What is read of a file, and what is said of one that cannot be read.
#include "base/small_file.hpp"

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/files.hpp"

namespace dflockd::base {
namespace {

using namespace std::string_view_literals;

constexpr uid_t kNobody = 65534;

/// What `call` throws; fails the test if it throws nothing.
template <typename Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const FileError& error) {
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}

class SmallFileTest : public testing::Test {
 protected:
  void write(std::string_view content) const { test::write_file(file_, content); }
  [[nodiscard]] std::string read(Pipes pipes = Pipes::kRefuse) const {
    return std::string(view_of(read_small_file(file_, pipes).bytes));
  }

  /// What both ways of looking at `path` say behind its name.
  static std::string complaint(const std::string& path) {
    const std::string text = refusal([&] { static_cast<void>(read_small_file(path)); });
    EXPECT_EQ(refusal([&] { check_readable(path); }), text);
    const std::string start = "cannot read \"" + path + "\": ";
    EXPECT_TRUE(text.starts_with(start)) << text;
    return text.substr(start.size());
  }

  const test::TemporaryDirectory temporary_;
  const std::filesystem::path directory_ = temporary_.path();
  const std::string file_ = directory_ / "file";
};

TEST_F(SmallFileTest, what_cannot_be_read_is_told_in_the_systems_words) {
  write("x");
  EXPECT_EQ(complaint((directory_ / "none").string()), "No such file or directory");
  EXPECT_EQ(complaint(directory_.string()), "Is a directory");
  EXPECT_EQ(complaint(file_ + "/x"), "Not a directory");
  EXPECT_EQ(complaint(std::string(5000, 'x')), "File name too long");
  EXPECT_EQ(complaint(""), "No such file or directory");
  std::filesystem::create_symlink("loop", directory_ / "loop");
  EXPECT_EQ(complaint((directory_ / "loop").string()), "Too many levels of symbolic links");
}

TEST_F(SmallFileTest, file_without_the_right_to_read_it_is_refused) {
  write("x");
  ASSERT_EQ(::chmod(file_.c_str(), 0), 0);
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  const uid_t was = ::geteuid();
  ASSERT_TRUE(was != 0 || ::seteuid(kNobody) == 0);
  EXPECT_EQ(complaint(file_), "Permission denied");
  ASSERT_EQ(::seteuid(was), 0);
}

TEST_F(SmallFileTest, name_is_shown_on_one_line) {
  EXPECT_EQ(refusal([] { check_readable("a\nb\x1b"); }),
            "cannot read \"a\\x0ab\\x1b\": No such file or directory");
}

TEST_F(SmallFileTest, device_or_fifo_is_refused_and_not_waited_for) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  for (const std::string& path : {file_, std::string("/dev/zero")}) {
    EXPECT_EQ(refusal([&] { static_cast<void>(read_small_file(path)); }),
              "cannot read \"" + path + "\": it is not a regular file");
    EXPECT_EQ(refusal([&] { check_readable(path); }),
              "cannot read \"" + path + "\": it is not a regular file");
  }
}

TEST_F(SmallFileTest, larger_than_a_mebibyte_is_refused) {
  const std::string mebibyte(1 << 20, 'x');
  write(mebibyte);
  EXPECT_EQ(read(), mebibyte);
  write(mebibyte + "x");
  EXPECT_EQ(refusal([&] { static_cast<void>(read()); }),
            "cannot read \"" + file_ + "\": it is larger than 1 MiB");
}

TEST_F(SmallFileTest, utf16_is_refused) {
  for (const std::string_view text : {"\xff\xfex\0\n\0"sv, "\xfe\xff\0x\0\n"sv}) {
    write(text);
    EXPECT_EQ(refusal([&] { static_cast<void>(read()); }),
              "cannot use \"" + file_ + "\": it is UTF-16; expected UTF-8");
  }
}

TEST_F(SmallFileTest, byte_order_mark_at_the_start_is_skipped) {
  for (const auto& [text, expected] :
       {std::pair("\xef\xbb\xbfx"sv, "x"sv), std::pair("\xef\xbb\xbf"sv, ""sv),
        std::pair("\xef\xbb"sv, "\xef\xbb"sv), std::pair("x\xef\xbb\xbf"sv, "x\xef\xbb\xbf"sv),
        std::pair("\xef\xbb\xbf\xef\xbb\xbfx"sv, "\xef\xbb\xbfx"sv),
        std::pair("\xff\xfex"sv, "\xff\xfex"sv)}) {
    write(text);
    EXPECT_EQ(read(), expected);
  }
}

TEST_F(SmallFileTest, pipe_that_nobody_writes_to_is_empty) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  EXPECT_EQ(read(Pipes::kRead), "");
}

TEST_F(SmallFileTest, pipe_is_read_to_its_end) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  const int both = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(both, 0);
  const std::string text(300'000, 'x');  // more than a pipe holds
  std::thread writer([&] {
    for (std::size_t written = 0; written < text.size();) {
      const ssize_t size = ::write(both, text.data() + written, text.size() - written);
      if (size <= 0) break;
      written += static_cast<std::size_t>(size);
    }
    ::close(both);
  });
  EXPECT_EQ(read(Pipes::kRead), text);
  writer.join();
}

TEST_F(SmallFileTest, token_is_a_line_without_the_white_space_around_it) {
  const auto token = [&](std::string_view content) {
    write(content);
    return std::string(read_secret_file(file_).secret.view());
  };
  EXPECT_EQ(token("\xef\xbb\xbfhunter2\r\n"), "hunter2");
  EXPECT_EQ(token("\n hunter 2\t"), "hunter 2");
  for (const auto& [content, why] :
       {std::pair(std::string("\xef\xbb\xbf\r\n"), "it holds no token"),
        std::pair(std::string("a\nb"), "it holds more than one line"),
        std::pair(std::string(65'537, 'x'), "it holds more than 65536 bytes")}) {
    EXPECT_EQ(refusal([&, &text = content] { static_cast<void>(token(text)); }),
              "cannot use \"" + file_ + "\": " + why + "; expected a line of 1 to 65536 bytes");
  }
}

}  // namespace
}  // namespace dflockd::base
