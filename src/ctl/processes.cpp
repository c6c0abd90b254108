#include "ctl/processes.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/descriptor.hpp"

namespace dflockd::ctl {
namespace {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  char state = 0;
  bool chosen = false;
};

/// What getdents64(2) fills a buffer with; readdir(3) may allocate memory.
struct DirectoryEntry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

/// The memory of an untouched part costs nothing. Who does not fit in is found by the next look,
/// when others are dead.
std::array<Process, 65'536> table;
std::size_t table_size = 0;

/// Reads a whole number and moves `text` behind it.
long read_number(const char*& text) {
  while (*text == ' ') ++text;
  long number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + (*text - '0');
  return number;
}

/// Adds a process from its /proc/PID/stat: "PID (NAME) STATE PARENT GROUP ...".
void add_process(int proc, const char* name) {
  std::array<char, 32> path{};
  const std::size_t length = std::strlen(name);
  constexpr std::array<char, 6> kStat{"/stat"};
  if (length + kStat.size() > path.size() || table_size == table.size()) return;
  std::copy_n(name, length, path.data());
  std::copy_n(kStat.data(), kStat.size(), path.data() + length);
  const base::Descriptor file(::openat(proc, path.data(), O_RDONLY | O_CLOEXEC));
  std::array<char, 512> text{};
  const ssize_t size = ::read(file.get(), text.data(), text.size() - 1);
  if (size <= 0) return;                                        // the process is gone
  const char* const name_end = std::strrchr(text.data(), ')');  // the name may have brackets
  if (name_end == nullptr || name_end[1] == '\0') return;
  const char* number = text.data();
  Process& process = table[table_size];
  process.pid = static_cast<pid_t>(read_number(number));
  process.state = name_end[2];
  number = name_end + 3;
  process.parent = static_cast<pid_t>(read_number(number));
  process.group = static_cast<pid_t>(read_number(number));
  process.chosen = false;
  ++table_size;
}

void read_table() {
  table_size = 0;
  const base::Descriptor proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  alignas(DirectoryEntry) std::array<char, 16'384> buffer{};
  for (;;) {
    const long size = ::syscall(SYS_getdents64, proc.get(), buffer.data(), buffer.size());
    if (size <= 0) break;
    for (long at = 0; at < size;) {
      const auto* const entry = reinterpret_cast<const DirectoryEntry*>(buffer.data() + at);
      if (entry->name[0] >= '1' && entry->name[0] <= '9') add_process(proc.get(), entry->name);
      at += entry->size;
    }
  }
}

std::span<Process> all_processes() {
  return std::span(table).first(table_size);
}

bool is_alive(const Process& process) {
  return process.state != 'Z' && process.state != 'X';
}

/// Mostly children come after their parents, so that the second pass finds nothing more.
void choose_descendants(pid_t root, std::span<const pid_t> spared) {
  for (bool changed = true; changed;) {
    changed = false;
    pid_t last_parent = 0;
    bool last_chosen = false;
    for (Process& process : all_processes()) {
      if (process.chosen || std::ranges::find(spared, process.pid) != spared.end()) continue;
      if (process.parent != last_parent) {
        last_parent = process.parent;
        const auto parent = std::ranges::find(all_processes(), last_parent, &Process::pid);
        last_chosen = last_parent == root || (parent != all_processes().end() && parent->chosen);
      }
      process.chosen = last_chosen;
      changed = changed || last_chosen;
    }
  }
}

}  // namespace

std::size_t signal_descendants(pid_t root, std::span<const pid_t> spared, int signal,
                               pid_t skipped) {
  read_table();
  choose_descendants(root, spared);
  std::size_t alive = 0;
  for (const Process& process : all_processes()) {
    if (!process.chosen || !is_alive(process)) continue;
    if (skipped != 0 && process.group == skipped) continue;
    ++alive;
    ::kill(process.pid, signal);
  }
  return alive;
}

bool is_group_alive(pid_t group) {
  read_table();
  return std::ranges::any_of(all_processes(), [group](const Process& process) {
    return process.group == group && is_alive(process);
  });
}

std::size_t children_of(pid_t parent, std::span<pid_t> space) {
  read_table();
  std::size_t count = 0;
  for (const Process& process : all_processes()) {
    if (process.parent == parent && count < space.size()) space[count++] = process.pid;
  }
  return count;
}

void Nap::take() noexcept {
  constexpr int kLongest = 200;
  ::poll(nullptr, 0, milliseconds_);
  milliseconds_ = std::min(2 * milliseconds_, kLongest);
}

}  // namespace dflockd::ctl
