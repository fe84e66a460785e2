#include "report_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace shadowattn::plugin {
namespace {

Status error(const std::string& path, const std::string& what) {
  return {StatusCode::kInvalidArgument, "cannot write \"" + path + "\": " + what};
}

Status system_error(const std::string& path) { return error(path, std::strerror(errno)); }

/// Follows symbolic links, so that the file they name is replaced and not the link.
std::string resolve(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path target = std::filesystem::weakly_canonical(path, failed);
  return failed ? path : target.string();
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }

  bool is_open() const { return fd_ >= 0; }

  bool write_all(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = write(fd_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return false;
      text.remove_prefix(static_cast<size_t>(written));
    }
    return true;
  }

  /// Also reports what a full disk said late.
  bool finish() {
    const int fd = fd_;
    fd_ = -1;
    return close(fd) == 0;
  }

 private:
  int fd_;
};

enum class Target { kFile, kDevice };

/// What is at `path`, or would be; error when a report cannot go there.
Result<Target> classify(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return Target::kFile;
    return system_error(path);
  }
  if (S_ISDIR(info.st_mode)) return error(path, "it is a directory");
  if (access(path.c_str(), W_OK) != 0) return system_error(path);
  return S_ISREG(info.st_mode) ? Target::kFile : Target::kDevice;
}

Status replace_file(const std::string& path, std::string_view text, bool keep) {
  const std::string target = resolve(path);
  const std::string temporary = target + "." + std::to_string(getpid()) + ".tmp";
  FileDescriptor file(
      open(temporary.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file.is_open()) return system_error(path);
  Status status;
  if (!file.write_all(text) || !file.finish() ||
      (keep && std::rename(temporary.c_str(), target.c_str()) != 0)) {
    status = system_error(path);
  }
  if (!keep || !status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace

Status check_report_path(const std::string& path) {
  const Result<Target> target = classify(path);
  if (!target.ok()) return target.status();
  if (target.value() == Target::kDevice) return {};
  return replace_file(path, {}, /*keep=*/false);
}

Status write_report_file(const std::string& path, std::string_view text) {
  const Result<Target> target = classify(path);
  if (!target.ok()) return target.status();
  if (target.value() == Target::kFile) return replace_file(path, text, /*keep=*/true);
  FileDescriptor device(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!device.is_open() || !device.write_all(text) || !device.finish()) return system_error(path);
  return {};
}

}  // namespace shadowattn::plugin
