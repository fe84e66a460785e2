// The report on disk: a reader sees the old file or the new one, never half of either.
#pragma once

#include <string>
#include <string_view>

#include "shadowattn/status.h"

namespace shadowattn::plugin {

/// Ok when a report could be written to `path` now. Leaves nothing behind.
Status check_report_path(const std::string& path);

/// Replaces the file. A device or pipe (/dev/stderr) is written to, not replaced.
Status write_report_file(const std::string& path, std::string_view text);

}  // namespace shadowattn::plugin
