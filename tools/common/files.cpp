#include "common/files.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "common/failure.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kGgufMagic = "GGUF";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr char kReferenceModel[] = "bookworm-3m-q8_0.gguf";
constexpr char kDocument[] = "texts/state-of-the-union-1907.txt";
// Both as in scripts/fetch-model.
constexpr char kCachedModel[] = "smollm2-135m-instruct-q4_1.gguf";
constexpr uintmax_t kCachedModelBytes = 98362432;
constexpr char kInstalledFetchScript[] = "shadowattn-fetch-model";

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

std::string system_error_text(int error) {
  return error == 0 ? "read error" : std::generic_category().message(error);
}

// Empty when reading failed; errno says why.
std::optional<std::string> read_all(std::FILE* file) {
  std::string content;
  std::array<char, 1 << 16> buffer{};
  errno = 0;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), file)) {
    content.append(buffer.data(), count);
  }
  if (std::ferror(file) != 0) return std::nullopt;
  return content;
}

std::string read_bytes(const std::string& path) {
  std::optional<std::string> content;
  if (path == "-") {
    content = read_all(stdin);
  } else if (const File file{std::fopen(path.c_str(), "rb")}) {
    content = read_all(file.get());
  }
  if (!content) {
    throw Failure("cannot read the document " + path + ": " + system_error_text(errno) +
                  "; check the path after -f");
  }
  return std::move(*content);
}

std::string temporary_path(const std::string& path) {
  const fs::path target(path);
  std::string name = ".";
  name.append(target.filename().string()).append(".").append(std::to_string(getpid()));
  return (target.parent_path() / name).string();
}

// "" when it is not set.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// As in cmake/llama.cmake and scripts/fetch-model. Empty when nothing names one.
fs::path cache_folder() {
  if (const std::string own = environment("SHADOWATTN_CACHE_DIR"); !own.empty()) return own;
  if (const std::string all = environment("XDG_CACHE_HOME"); !all.empty()) {
    return fs::path(all) / "shadowattn";
  }
  if (const std::string home = environment("HOME"); !home.empty()) {
    return fs::path(home) / ".cache" / "shadowattn";
  }
  const fs::path tree(SHADOWATTN_SOURCE_DATA);
  return tree.empty() ? tree : tree / "build" / "cache";
}

[[noreturn]] void fail_to_write(const std::string& path, int error) {
  throw Failure("cannot write " + path + ": " + system_error_text(error) + "; give another path");
}

}  // namespace

Document read_document(const std::string& path) {
  std::error_code ignored;
  if (path != "-" && fs::is_directory(path, ignored)) {
    throw Failure("the document " + path + " is a folder; give a text file");
  }
  const std::string bytes = read_bytes(path);
  std::string_view text = bytes;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  RepairedText repaired = repair_utf8(text);
  if (trim(repaired.text).empty()) {
    throw Failure((path == "-" ? std::string("standard input") : "the document " + path) +
                  " holds no text; there is nothing to read");
  }
  return {std::move(repaired.text), repaired.replaced};
}

void check_model_file(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Failure("the model " + path + " is a folder; give the .gguf file in it");
  }
  const File file{std::fopen(path.c_str(), "rb")};
  if (!file) {
    throw Failure("cannot open the model " + path + ": " + system_error_text(errno) +
                  "; check the path after -m");
  }
  std::array<char, kGgufMagic.size()> magic{};
  const size_t count = std::fread(magic.data(), 1, magic.size(), file.get());
  if (count == 0) throw Failure("the model " + path + " is empty; download it again");
  if (std::string_view(magic.data(), count) != kGgufMagic) {
    throw Failure("the model " + path + " is not a GGUF file; give a model in llama.cpp's format");
  }
}

void check_writable(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    throw Failure("cannot write " + path + ": it is a folder; give a file");
  const std::string probe = temporary_path(path);
  const File file{std::fopen(probe.c_str(), "wb")};
  if (!file) fail_to_write(path, errno);
  std::remove(probe.c_str());
}

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)),
      temporary_(temporary_path(path_)),
      file_(std::fopen(temporary_.c_str(), "wb")) {
  if (!file_) fail_to_write(path_, errno);
}

AtomicFile::~AtomicFile() {
  if (file_) std::remove(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_.get()) != bytes) fail_to_write(path_, errno);
  size_ += static_cast<int64_t>(bytes);
}

void AtomicFile::commit() {
  // A full disk may show only when the buffer is flushed.
  const bool closed = std::fclose(file_.release()) == 0;
  if (closed && std::rename(temporary_.c_str(), path_.c_str()) == 0) return;
  const int error = errno;
  std::remove(temporary_.c_str());
  fail_to_write(path_, error);
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

fs::path program_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::path(".") : program.parent_path();
}

fs::path data_file(const std::string& name) {
  const std::vector<fs::path> folders = {
      program_folder() / ".." / "share" / "shadowattn",
      fs::path(SHADOWATTN_SOURCE_DATA),
  };
  for (const fs::path& folder : folders) {
    if (folder.empty()) continue;
    std::error_code ignored;
    if (fs::is_regular_file(folder / name, ignored)) return folder / name;
  }
  throw Failure("shadowattn's file " + name + " is not installed");
}

fs::path default_document_path() { return data_file(kDocument); }

fs::path reference_model_path() {
  try {
    return data_file(std::string("models/") + kReferenceModel);
  } catch (const Failure&) {
    throw Failure(std::string("the reference model ") + kReferenceModel +
                  " is not installed; give a model with -m");
  }
}

fs::path cached_model_path() {
  const fs::path folder = cache_folder();
  if (folder.empty()) return folder;
  fs::path model = folder / kCachedModel;
  std::error_code error;
  const uintmax_t bytes = fs::file_size(model, error);
  return !error && bytes == kCachedModelBytes ? model : fs::path();
}

std::string fetch_script() {
  std::error_code ignored;
  const bool installed = fs::exists(program_folder() / kInstalledFetchScript, ignored);
  return installed ? kInstalledFetchScript : "scripts/fetch-model";
}

}  // namespace shadowattn::tool
