#include "written.hpp"

#include <sstream>

namespace dflockd::history {

History written(std::initializer_list<std::pair<std::string, std::string>> files) {
  Reader reader;
  for (const auto& [name, text] : files) {
    std::istringstream lines(text);
    std::string translated;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string kind;
      Time milliseconds = 0;
      if (!(words >> kind >> milliseconds)) continue;
      translated += kind + " " + std::to_string(milliseconds * kMillisecond);
      for (std::string word; words >> word;) {
        const std::size_t at = word.find("=@");
        if (at != std::string::npos) {
          const std::uint64_t fence = std::stoull(word.substr(at + 2));
          word = "token=" + to_string(Token{fence, fence});
        }
        translated += " " + word;
      }
      translated += "\n";
    }
    reader.add(name, translated);
  }
  return reader.finish();
}

std::string connected(const std::string& records) {
  return "O 0 1 tcp\n" + records;
}

std::string holder(const std::string& records) {
  return connected(R"(
    I 10 1 1 acquire L:job timeout=0 lease=10
    R 20 1 ok token=@1 lease=10
  )" + records);
}

std::set<std::string_view> violated_by_holder(const std::string& records) {
  return violated(written({{"a.1", holder(records)}}));
}

std::set<std::string_view> violated(const History& history, const Bounds& bounds) {
  std::set<std::string_view> rules;
  for (const Violation& violation : check(history, bounds).violations) {
    rules.insert(name_of(violation.rule));
  }
  return rules;
}

}  // namespace dflockd::history
