#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <thread>

#include <sys/ioctl.h>
#include <unistd.h>

#include <dflockd/connection.hpp>

#include "ctl/commands.hpp"
#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

/// As big as standard output's terminal; nothing if it is none.
struct Screen {
  std::size_t width = 0;
  std::size_t height = 0;
};

Screen screen() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return {};
  return {.width = size.ws_col, .height = size.ws_row};
}

/// Asks the servers, over connections that it keeps.
class Observer {
 public:
  explicit Observer(const Options& options) : options_(options) {}

  /// Throws `Error`, and reconnects the next time.
  std::string stats(const std::string& server) {
    std::unique_ptr<Connection>& connection = connections_[server];
    try {
      if (connection == nullptr) {
        connection = std::make_unique<Connection>(connection_options(options_, server));
      }
      return connection->stats();
    } catch (const Error&) {
      connection.reset();
      throw;
    }
  }

 private:
  const Options& options_;
  std::map<std::string, std::unique_ptr<Connection>> connections_;
};

std::vector<std::string> look(Observer& observer, const Options& options, std::size_t width) {
  std::vector<std::string> lines;
  for (const std::string& server : options.servers) {
    const std::string json = observer.stats(server);
    if (options.json) {
      lines.push_back(json);
      continue;
    }
    if (!lines.empty()) lines.emplace_back();
    const std::vector<std::string> table = stats_table(server, json, width);
    lines.insert(lines.end(), table.begin(), table.end());
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

/// What redraws the screen, in one write so that nothing flickers. The cursor is never hidden, so
/// whatever ends dflockctl leaves the terminal as it was.
std::string frame(std::vector<std::string> lines, std::size_t height) {
  constexpr const char* kHome = "\x1b[H";
  constexpr const char* kEraseLine = "\x1b[K";
  constexpr const char* kEraseRest = "\x1b[J";
  if (height > 1 && lines.size() > height - 1) {  // a line is for the cursor
    const std::size_t kept = height - 2;
    const std::string more = "... " + std::to_string(lines.size() - kept) + " more";
    lines.resize(kept);
    lines.push_back(more);
  }
  std::string text = kHome;
  for (const std::string& line : lines) text += line + kEraseLine + '\n';
  return text + kEraseRest;
}

int watch(Observer& observer, const Options& options, std::ostream& out) {
  const bool in_place = screen().width > 0 && !options.json;
  for (bool first = true;; first = false) {
    const Screen size = screen();
    std::vector<std::string> lines;
    try {
      lines = look(observer, options, size.width);
    } catch (const std::runtime_error& error) {  // `Error` is one
      if (first) throw;
      if (in_place) {
        lines.emplace_back(error.what());
      } else {
        say(error.what());
      }
    }
    if (in_place) {
      if (first) out << "\x1b[2J";
      out << frame(std::move(lines), size.height);
    } else if (!lines.empty()) {
      out << joined(lines) << (options.json ? "" : "\n");
    }
    if (!out.flush()) throw std::runtime_error("cannot write to standard output");
    std::this_thread::sleep_for(*options.watch);
  }
}

}  // namespace

int show_stats(const Options& options, std::ostream& out) {
  Observer observer(options);
  if (options.watch) return watch(observer, options, out);
  out << joined(look(observer, options, screen().width));
  return 0;
}

}  // namespace dflockd::ctl
