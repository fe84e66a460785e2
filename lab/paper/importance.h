// What a model's heads are worth, measured, and a profile handed to the plug-in.
#pragma once

#include <string>

#include "paper/share_profile.h"
#include "paper/workbench.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool::paper {

/// Reads the other half of the text (kld_part.h) once for every head and layer; fewer tokens for
/// models with many. Throws Failure, also on Ctrl-C.
Importance measure_importance(const Workbench& workbench, const HeadShape& shape);

/// A profile in a file of its own, which goes with this object: the plug-in reads files.
class ProfileFile {
 public:
  /// Throws Failure.
  explicit ProfileFile(const Profile& profile);
  ~ProfileFile();
  ProfileFile(const ProfileFile&) = delete;
  ProfileFile& operator=(const ProfileFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string folder_;
  std::string path_;
};

}  // namespace shadowattn::tool::paper
