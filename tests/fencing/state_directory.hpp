// A directory of its own for one test, with a fence state file in it; gone at the end of the test.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ios>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fencing/fence_slot.hpp"
#include "support/files.hpp"

namespace dflockd::fencing {

class StateDirectory : public test::TemporaryDirectory {
 public:
  [[nodiscard]] std::filesystem::path file() const { return *this / "fences"; }

  /// The names in the directory.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path())) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  [[nodiscard]] std::string read() const { return test::read_file(file()); }

  /// Replaces what is in the file, without replacing the file. It is not emptied first: some file
  /// systems then wait for the disk.
  void write(const std::string& bytes) const {
    std::ofstream(file(), std::ios::app);
    std::filesystem::resize_file(file(), bytes.size());
    std::fstream(file(), std::ios::binary | std::ios::in | std::ios::out) << bytes;
  }

  /// Turns all bits of one byte.
  void flip(std::size_t offset) const {
    std::string bytes = read();
    bytes.at(offset) = static_cast<char>(~bytes.at(offset));
    write(bytes);
  }
};

/// The slot of that number in the bytes of a file, if it is intact.
inline std::optional<Slot> slot_in(const std::string& bytes, std::size_t number) {
  const auto all = std::as_bytes(std::span(bytes));
  return decode(all.subspan(slot_offset(number)).first<kSlotSize>());
}

/// The bytes of a file with these slots.
inline std::string image_of(const Slot& first, const Slot& second) {
  std::string image(kFileSize, '\0');
  std::size_t number = 0;
  for (const Slot& slot : {first, second}) {
    const SlotBytes bytes = encode(slot);
    image.replace(slot_offset(number++), kSlotSize, reinterpret_cast<const char*>(bytes.data()),
                  kSlotSize);
  }
  return image;
}

}  // namespace dflockd::fencing
