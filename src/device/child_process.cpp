#include "device/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>

#include "device/file_descriptor.h"

namespace shadowattn {
namespace {

class SpawnActions {
 public:
  SpawnActions() {
    if (posix_spawn_file_actions_init(&actions_) != 0) throw std::bad_alloc();
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }

  void null_file(int in_child, int flags) {
    check(posix_spawn_file_actions_addopen(&actions_, in_child, "/dev/null", flags, 0));
  }
  void inherit(int fd, int in_child) {
    check(posix_spawn_file_actions_adddup2(&actions_, fd, in_child));
  }
  void close_from(int first) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
    check(posix_spawn_file_actions_addclosefrom_np(&actions_, first));
#else
    (void)first;  // what is not close-on-exec leaks into the child
#endif
  }
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  static void check(int error) {
    if (error != 0) throw std::bad_alloc();  // the only error that valid arguments can give
  }
  posix_spawn_file_actions_t actions_;
};

// Signals as a freshly started program expects them, whatever the parent has blocked or ignored.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    if (posix_spawnattr_init(&attributes_) != 0) throw std::bad_alloc();
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

}  // namespace

ChildProcess::~ChildProcess() {
  if (pid_ <= 0) return;
  kill();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void ChildProcess::kill() {
  // Not reaped before the destructor, so the number cannot have passed to another process.
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

Status ChildProcess::start(const std::vector<std::string>& command,
                           std::span<const InheritedFile> files) {
  if (command.empty() || pid_ != 0) return {StatusCode::kInternal, "child process started wrongly"};
  int above = 3;
  for (const InheritedFile& file : files) above = std::max(above, file.in_child + 1);
  // First out of the way of all final numbers, so that no dup2 closes what a later one needs.
  std::vector<FileDescriptor> moved;
  SpawnActions actions;
  actions.null_file(STDIN_FILENO, O_RDONLY);
  actions.null_file(STDOUT_FILENO, O_WRONLY);
  actions.null_file(STDERR_FILENO, O_WRONLY);
  for (const InheritedFile& file : files) {
    moved.emplace_back(fcntl(file.fd, F_DUPFD_CLOEXEC, above));
    if (!moved.back().valid()) {
      return {StatusCode::kDeviceFailed,
              std::string("cannot start ") + command[0] + ": " + std::strerror(errno)};
    }
    actions.inherit(moved.back().get(), file.in_child);
  }
  actions.close_from(above);

  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  SpawnAttributes attributes;
  const int error =
      posix_spawnp(&pid_, arguments[0], actions.get(), attributes.get(), arguments.data(), environ);
  if (error != 0) {
    pid_ = 0;
    return {error == ENOENT ? StatusCode::kUnsupported : StatusCode::kDeviceFailed,
            std::string("cannot start ") + command[0] + ": " + std::strerror(error)};
  }
  return {};
}

}  // namespace shadowattn
