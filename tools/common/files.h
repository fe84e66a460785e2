// Files: documents in, models checked, reports out, and where our own files lie.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace shadowattn::tool {

/// The document as valid UTF-8; "-" is standard input. Throws Failure when it cannot be read or
/// holds no text.
struct Document {
  std::string text;
  int64_t replaced_bytes = 0;  ///< that were not UTF-8
};
Document read_document(const std::string& path);

/// Throws Failure when this cannot be a GGUF model: missing, a directory, empty, another format.
void check_model_file(const std::string& path);

/// Throws Failure when a file could not be created at `path`. Leaves nothing behind.
void check_writable(const std::string& path);

/// A file that appears whole or not at all: written under a temporary name beside `path`, which it
/// gets in commit(). Without commit() nothing is left. Everything throws Failure on error.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  int64_t size() const { return size_; }  ///< bytes written so far
  /// Last call; replaces what was at `path`.
  void commit();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::string path_;
  std::string temporary_;
  std::unique_ptr<std::FILE, Closer> file_;
  int64_t size_ = 0;
};

/// Writes the whole file or, on failure, nothing.
void write_file_atomically(const std::string& path, std::string_view content);

/// Folder of this program.
std::filesystem::path program_folder();

/// A file that comes with shadowattn: "soc/snapdragon-8gen3.json". Throws Failure when it is not
/// installed.
std::filesystem::path data_file(const std::string& name);

/// The text that comes with shadowattn, for subcommands that were given none. Throws Failure when
/// it is not installed.
std::filesystem::path default_document_path();

/// The model that comes with shadowattn. Throws Failure when it is not installed.
std::filesystem::path reference_model_path();

/// SmolLM2-135M-Instruct where scripts/fetch-model puts it, in the cache folder. Empty when no file
/// of that name and size is there; its checksum that script has seen to.
std::filesystem::path cached_model_path();

/// The script that brings it, as it is called here.
std::string fetch_script();

}  // namespace shadowattn::tool
