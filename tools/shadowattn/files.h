// Files: documents in, models checked, reports out, and where our own files lie.
#pragma once

#include <cstdint>
#include <filesystem>
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

/// Writes the whole file or, on failure, nothing: a temporary file beside it, then rename.
void write_file_atomically(const std::string& path, std::string_view content);

/// Folder of this program.
std::filesystem::path program_folder();

/// The model that comes with shadowattn. Throws Failure when it is not installed.
std::filesystem::path reference_model_path();

}  // namespace shadowattn::tool
